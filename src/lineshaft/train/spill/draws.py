"""How far a forward pass moves torch's CPU generator, and moving it as far without the pass.

A plain loop runs micro-batch 0 through the whole model before micro-batch 1; a spilled step runs both through shard 0
first. So that each draws what it would have drawn, micro-batch i starts from where the generator will stand after the
i micro-batches before it: as many 32-bit words on as those draw (Mersenne Twister, Matsumoto and Nishimura 1998; torch
and numpy step it alike). The prediction is checked against what was drawn, before anything is updated.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

WORDS = 624
_PHILOX = struct.Struct("<Qq")  # seed, count (Salmon, Moraes, Dror and Shaw 2011)
_CPU = len(torch.get_rng_state())
_HEAD = struct.Struct("<QiiQ")  # seed, words left before the next twist, seeded, number of the next word
_AHEAD = 4  # words by which a place is known
_LOOK = 1 << 14  # words looked through at once: a few hundred KB


def advance(state: torch.Tensor, words: int) -> torch.Tensor:
    """Return the state of torch's CPU generator after so many more words."""
    if not words:
        return state.clone()
    twister = _numpy(state)
    twister.random_raw(words, output=False)
    return _torch(state, twister)


def distance(before: torch.Tensor, after: torch.Tensor, most: int = 1 << 28) -> int | None:
    """Return the number of words between two states of one generator; None where there is no way of at most ``most``.

    What normal draws keep for later is part of a state: a way that ends with another such value is none.
    """
    if torch.equal(before, after):
        return 0
    twister, ahead = _numpy(before), _numpy(after).random_raw(_AHEAD)
    words = twister.random_raw(_AHEAD - 1)
    for passed in range(0, most, _LOOK):
        words = np.concatenate([words[1 - _AHEAD :], twister.random_raw(_LOOK)])
        for place in np.flatnonzero(words[:_LOOK] == ahead[0]):
            found = passed + int(place)
            if np.array_equal(words[place : place + _AHEAD], ahead) and torch.equal(advance(before, found), after):
                return found
    return None


class Moved(NamedTuple):
    """How far a forward pass moves the generators: by words of the CPU's, by counts of the GPU's (Philox)."""

    words: int
    counts: int = 0


def now() -> torch.Tensor:
    """Return the states of the generators that a model may draw from: the CPU's, and the GPU's if one is used."""
    own = torch.get_rng_state()
    return torch.cat([own, torch.cuda.get_rng_state()]) if _on_a_gpu() else own


def of(captured: Mapping[str, Any]) -> torch.Tensor:
    """Return such states out of what `randomness.capture` returned."""
    own: torch.Tensor = captured["torch"]
    return torch.cat([own, captured["cuda"][torch.cuda.current_device()]]) if _on_a_gpu() else own


def stand_at(state: torch.Tensor) -> None:
    """Put the generators into such states."""
    torch.set_rng_state(state[:_CPU])
    if len(state) > _CPU:
        torch.cuda.set_rng_state(state[_CPU:])


def between(before: torch.Tensor, after: torch.Tensor) -> Moved | None:
    """Return the way between two such states; None where there is none that can be found."""
    words = distance(before[:_CPU], after[:_CPU])
    (seed, start), (other, end) = _philox(before), _philox(after)
    return None if words is None or seed != other or end < start else Moved(words, end - start)


def onward(state: torch.Tensor, by: Moved) -> torch.Tensor:
    """Return such states after a way."""
    own = advance(state[:_CPU], by.words)
    if len(state) == _CPU:
        return own
    seed, count = _philox(state)
    return torch.cat([own, torch.frombuffer(bytearray(_PHILOX.pack(seed, count + by.counts)), dtype=torch.uint8)])


def _on_a_gpu() -> bool:
    used: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return used


def _philox(state: torch.Tensor) -> tuple[int, int]:
    """Return the seed of the GPU's generator, and how far it has come."""
    if len(state) == _CPU:
        return 0, 0
    seed, count = _PHILOX.unpack(state[_CPU:].numpy().tobytes())
    return int(seed), int(count)


def _numpy(state: torch.Tensor) -> np.random.MT19937:
    raw = state.numpy().tobytes()
    _, left, _, following = _HEAD.unpack_from(raw)
    twister = np.random.MT19937()
    key = np.frombuffer(raw, np.uint64, WORDS, _HEAD.size).astype(np.uint32)
    twister.state = {"bit_generator": "MT19937", "state": {"key": key, "pos": WORDS if left == 1 else following}}
    return twister


def _torch(state: torch.Tensor, twister: np.random.MT19937) -> torch.Tensor:
    raw = bytearray(state.numpy().tobytes())
    seed, _, seeded, _ = _HEAD.unpack_from(raw)
    inner = twister.state["state"]
    position = int(inner["pos"])
    _HEAD.pack_into(raw, 0, seed, WORDS + 1 - position, seeded, position)
    raw[_HEAD.size : _HEAD.size + 8 * WORDS] = inner["key"].astype(np.uint64).tobytes()
    return torch.frombuffer(raw, dtype=torch.uint8).clone()
