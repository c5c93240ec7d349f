"""What an order of computation gives, in symbols: two orders that give the same give the same numbers, bit for bit."""

from __future__ import annotations


def outcome(actions, shards):
    """Return the outputs, the norm, and what each shard was stepped with; None where an action finds nothing."""
    forward, graphs, gradients, summed, stepped, norm = {}, {}, {}, {}, {}, None
    for action in actions:
        k, i = action.shard, action.micro
        given = forward.get((k - 1, i)) if k > 0 else f"input {i}"
        if action.kind in {"F", "R"}:
            if given is None or (action.kind == "R" and (k, i) not in forward):
                return None
            forward[k, i] = (k, stepped.get(k), given)
            if action.graph or action.kind == "R":
                graphs[k, i] = forward[k, i]
        elif action.kind == "B":
            above = gradients.get((k + 1, i)) if k + 1 < shards else "loss"
            if above is None or (k, i) not in graphs:
                return None
            gradients[k, i] = (graphs.pop((k, i)), above)
            summed[k] = (*summed.get(k, ()), gradients[k, i])
        elif action.kind == "N":
            norm = dict(summed)
        else:
            own = summed.pop(k, ()) if k < shards else sorted(gradients)
            stepped[k] = (own, norm)
    outputs = {key: value for key, value in forward.items() if key[0] == shards - 1}
    return outputs, norm, stepped, summed
