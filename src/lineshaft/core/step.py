"""A step is a pure function from artifacts to artifacts, named by what it is made of: its key.

::

    key = digest(name, code and parameters, inputs, outputs asked for)

`lineshaft.core.session` runs steps or reuses them; here they are described.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lineshaft.core import codec
from lineshaft.core.artifact import Artifact, digest_of
from lineshaft.core.fingerprint import Ingredient, brief, fingerprint
from lineshaft.errors import UsageError

KEY_FORMAT = 1
Compute = Callable[..., Mapping[str, codec.Payload]]


@dataclass(frozen=True)
class Step:
    """One application of a function to artifacts.

    Attributes
    ----------
    name
        For people: ``vote short_and_angry``.
    compute
        ``compute(name=payload, ..., [work=Path])`` -> output name to payload; importable, or a partial of such.
    inputs
        Input name to artifact, or to a list of them.
    outputs
        Output name to artifact kind.
    ingredients
        What the function and its parameters are made of.
    impure
        Runs every time; its outputs are compared by bytes, so work behind it is cut off when they did not change.
    resumable
        Wants a folder ``work`` for its checkpoints.
    aside
        More arguments, which do not count: where a file lies whose digest is an input, the table that a view is of.
        Artifacts among them are loaded, and shown by lineage. One with an input's name stands in for its object.

    """

    name: str
    compute: Compute
    inputs: Mapping[str, Artifact | Sequence[Artifact]]
    outputs: Mapping[str, str]
    ingredients: tuple[Ingredient, ...]
    impure: bool = False
    resumable: bool = False
    aside: Mapping[str, Any] = field(default_factory=dict)

    @functools.cached_property
    def key(self) -> str:
        """The name of this application; equal keys give equal outputs."""
        made_of = [
            KEY_FORMAT,
            self.name,
            [[item.name, item.digest] for item in self.ingredients if item.name.startswith("=")],
            [[name, artifact.kind, artifact.digest] for name, artifact in self.flat_inputs],
            sorted(self.outputs.items()),
        ]
        return digest_of(json.dumps(made_of, ensure_ascii=False).encode())

    @property
    def flat_inputs(self) -> list[tuple[str, Artifact]]:
        """Input names with artifacts, lists spread out."""
        flat: list[tuple[str, Artifact]] = []
        for name, given in self.inputs.items():
            flat += [(name, given)] if isinstance(given, Artifact) else [(name, item) for item in given]
        return flat

    @property
    def flat_aside(self) -> list[tuple[str, Artifact]]:
        """The artifacts among ``aside``, for lineage."""
        return [(f"~{name}", given) for name, given in self.aside.items() if isinstance(given, Artifact)]

    @property
    def pending(self) -> bool:
        """Whether an input is not there yet, as happens in a dry run."""
        return any(is_pending(artifact) for _, artifact in self.flat_inputs)


def make(
    name: str,
    compute: Compute,
    inputs: Mapping[str, Artifact | Sequence[Artifact]],
    outputs: Mapping[str, str],
    parameters: Mapping[str, Any] | None = None,
    *,
    version: str | None = None,
    impure: bool = False,
    resumable: bool = False,
    aside: Mapping[str, Any] | None = None,
) -> Step:
    """Describe a step: fingerprint its code and parameters.

    Parameters
    ----------
    name, compute, inputs, outputs, impure, resumable, aside
        As in `Step`; ``compute`` is called with the inputs and the parameters by name.
    parameters
        Values that ``compute`` also takes; each is an ingredient of its own.
    version
        Stands for the code of ``compute`` where that cannot be fingerprinted.

    """
    given = dict(parameters or {})
    if clash := set(given) & set(inputs):
        raise UsageError(f"step {name} has an input and a parameter called {min(clash)!r}; rename one")
    if version is not None:
        ingredients = [Ingredient("=version", digest_of(version.encode()), "", version)]
    else:
        code = fingerprint(compute, name)
        ingredients = [Ingredient("=code", code.digest), *code.ingredients]
    for parameter, value in sorted(given.items()):
        print_ = fingerprint(value, parameter)
        ingredients += [Ingredient(f"={parameter}", print_.digest, "", brief(value)), *print_.ingredients]
    return Step(
        name,
        functools.partial(compute, **given),
        inputs,
        outputs,
        tuple(ingredients),
        impure,
        resumable,
        dict(aside or {}),
    )


@dataclass(frozen=True)
class Done:
    """What a step gave.

    Attributes
    ----------
    outputs
        Output name to artifact.
    reused
        Whether it was found rather than computed.

    """

    outputs: dict[str, Artifact]
    reused: bool


PENDING = "pending:"


def is_pending(artifact: Artifact) -> bool:
    """Whether the artifact stands for bytes that a dry run did not make."""
    return artifact.digest.startswith(PENDING)


def pending(kind: str, maker: str) -> Artifact:
    """Stand for what a step would have made."""
    return Artifact(kind, f"{PENDING}{maker}", -1)
