"""Labels: fused facts with their probabilities, weight, tier, and the sources behind them.

Covered rows and gold rows only: what nobody spoke about is absent, not guessed. A row of an expert weighs 1; a fused
one ``weak_weight`` times its confidence, because weak rows as equals can be worse than a few experts alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lineshaft.collect.classes import class_number
from lineshaft.collect.fuse.additive import Additive
from lineshaft.collect.fuse.checks import ABSTAIN
from lineshaft.collect.fuse.label_model import LabelModel
from lineshaft.collect.reasons import explained
from lineshaft.core.html import html_table
from lineshaft.errors import DataError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.fuse.checks import Ints
    from lineshaft.collect.fuse.model import Model
    from lineshaft.collect.votes import Votes
    from lineshaft.core.task import Task

EXPERT, FUSED = "expert", "fused"
WEAK_WEIGHT = 0.3
WEAK_REASON = "the best fixed value on ten public sets with expert and weak rows; 1 lost to the experts alone on four"


@dataclass(frozen=True, eq=False)
class Labels:
    """One label per covered or gold row.

    Attributes
    ----------
    row_ids
        ``[n]``.
    classes
        ``[k]`` names.
    probabilities
        ``[n, k]`` float32; rows sum to 1.
    weights
        ``[n]`` float32 in 0..1, for the loss.
    tiers
        ``[n]`` "expert" or "fused".
    reasons
        ``[n]`` per row a list of {source, log_odds} of the label against the rest, largest first; they sum to the
        label's log-odds by the votes alone, "prior" and "others" included. On expert rows: what the votes said of it.
    report
        How it came about, as JSON.

    """

    row_ids: tuple[str, ...]
    classes: tuple[str, ...]
    probabilities: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    tiers: tuple[str, ...]
    reasons: pa.ListArray
    report: dict[str, Any]

    @cached_property
    def places(self) -> dict[str, int]:
        """Row id to row number."""
        return {row_id: place for place, row_id in enumerate(self.row_ids)}

    def __len__(self) -> int:
        return len(self.row_ids)

    def hard(self) -> npt.NDArray[np.int64]:
        """Return ``[n]`` the most probable class."""
        found: npt.NDArray[np.int64] = self.probabilities.argmax(axis=1).astype(np.int64)
        return found

    def explain(self, row_id: str) -> dict[str, float]:
        """Return what each source adds to the log-odds of this row's label."""
        if row_id not in self.places:
            raise DataError(f"row {row_id!r} has no label: no source voted on it and no expert labelled it")
        return {item["source"]: item["log_odds"] for item in self.reasons[self.places[row_id]].as_py()}

    def payload(self) -> pa.Table:
        """Return what the codec stores: row_id, ``p_CLASS`` columns, weight, tier, sources."""
        import pyarrow as pa

        columns = {"row_id": pa.array(self.row_ids, pa.string())}
        columns |= {f"p_{name}": pa.array(self.probabilities[:, c]) for c, name in enumerate(self.classes)}
        columns["weight"] = pa.array(self.weights, pa.float32())
        columns["tier"] = pa.array(self.tiers, pa.string())
        columns["sources"] = self.reasons
        facts = json.dumps({"classes": self.classes, "report": self.report}, sort_keys=True, ensure_ascii=False)
        return pa.table(list(columns.values()), names=list(columns)).replace_schema_metadata({"lineshaft": facts})

    to_arrow = payload

    @classmethod
    def from_payload(cls, payload: pa.Table) -> Labels:
        """Make labels of what the codec read."""
        facts = json.loads(payload.schema.metadata[b"lineshaft"])
        classes = tuple(facts["classes"])
        columns = [payload.column(1 + c).to_numpy() for c in range(len(classes))]
        return cls(
            tuple(payload.column("row_id").to_pylist()),
            classes,
            np.stack(columns, axis=1).astype(np.float32),
            payload.column("weight").to_numpy().astype(np.float32),
            tuple(payload.column("tier").to_pylist()),
            payload.column("sources").combine_chunks(),
            facts["report"],
        )

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"Labels({len(self)} rows: {self.tiers.count(EXPERT)} expert, {self.tiers.count(FUSED)} fused)"

    def _repr_html_(self) -> str:
        rows = []
        for place, row_id in enumerate(self.row_ids[:20]):
            why = ", ".join(f"{source} {value:+.2f}" for source, value in list(self.explain(row_id).items())[:3])
            c = int(self.probabilities[place].argmax())
            shown = f"{self.probabilities[place, c]:.3f}", f"{self.weights[place]:.3f}"
            rows.append((row_id, self.classes[c], *shown, self.tiers[place], why))
        return html_table(repr(self), ["row", "label", "probability", "weight", "tier", "because"], rows)


def fuse(
    votes: Votes,
    task: Task,
    gold: Mapping[str, Any] | None = None,
    model: Model | None = None,
    weak_weight: float = WEAK_WEIGHT,
) -> Labels:
    """Fuse votes into labels.

    Parameters
    ----------
    votes
        What the sources said.
    task
        Its classes must be those that the votes are about.
    gold
        Row id (a string) to class name or number, where experts looked. Rows that were not asked about are left out,
        and counted.
    model
        A label model to fit; default `LabelModel`.
    weak_weight
        What a fused row weighs at full confidence, beside an expert's 1. Recorded in the report.

    Raises
    ------
    DataError
        The votes are about other classes, or gold names an unknown one, or none of the rows.
    UsageError
        The model is for another number of classes, or the weight is none.

    """
    if not 0 <= weak_weight <= 1:
        raise UsageError(f"weak_weight is between 0 and 1, got {weak_weight}")
    if votes.classes is not None and votes.classes != task.classes:
        raise DataError(f"the votes are about {votes.classes}, task {task.name!r} about {task.classes}")
    chosen: Any = model if model is not None else LabelModel(len(task.classes))
    if chosen.k != len(task.classes):
        raise UsageError(f"a model of {chosen.k} classes for task {task.name!r} of {len(task.classes)}")
    known = gold_numbers(votes, gold, task.classes)
    dense, soft = votes.to_dense(), votes.to_confidence()
    kinds = {"kinds": votes.kinds} if isinstance(chosen, LabelModel) else {}
    chosen.fit(dense, gold=known, confidence=soft, **kinds)
    certain = np.where(known >= 0, known, _unanimous(votes, dense))
    keep = np.flatnonzero(chosen.covered(dense) | (certain >= 0))
    dense, soft, certain = dense[keep], None if soft is None else soft[keep], certain[keep]
    q, sure = chosen.predict_proba(dense, confidence=soft), certain >= 0
    q[sure] = np.eye(chosen.k)[certain[sure]]
    return Labels(
        tuple(votes.row_ids[row] for row in keep),
        task.classes,
        q.astype(np.float32),
        np.where(sure, 1.0, weak_weight * q.max(axis=1)).astype(np.float32),
        tuple(EXPERT if expert else FUSED for expert in sure),
        explained(chosen if isinstance(chosen, Additive) else None, votes.names, dense, q.argmax(axis=1), soft),
        _report(chosen, votes, task, gold or {}, known, sure, weak_weight),
    )


def gold_numbers(votes: Votes, gold: Mapping[str, Any] | Sequence[int] | None, classes: Sequence[str] | None) -> Ints:
    """Return ``[n]`` known class numbers, -1 elsewhere: from a mapping by row id, or one number per row."""
    found = np.full(len(votes), -1, np.int64)
    if gold is None:
        return found
    if not isinstance(gold, Mapping):
        if len(gold) != len(votes):
            raise DataError(f"{len(gold)} gold labels for {len(votes)} rows; give one per row, or a mapping by row id")
        known = (None if label == ABSTAIN else label for label in gold)  # unknown, whatever the classes are called
        gold = dict(zip(votes.row_ids, known, strict=True))
    if gold and not any(row_id in votes.places for row_id in gold):
        raise DataError(_matches_nothing(list(gold), votes.row_ids))
    for row_id, label in gold.items():
        place = votes.places.get(row_id)
        if place is not None:
            try:
                found[place] = class_number(label, classes)
            except ValueError as error:
                raise DataError(f"gold of row {row_id!r}: {error}") from error
    return found


def _matches_nothing(named: Sequence[Any], asked: Sequence[str]) -> str:
    first = named[0]
    kind = "" if isinstance(first, str) else f"; row ids are strings, {first!r} is of type {type(first).__name__}"
    rows = f"the {len(asked)} rows, the first of which is {asked[0]!r}" if asked else "the rows, for there are none"
    return (
        f"none of the {len(named)} row ids of gold, such as {first!r}, is among {rows}{kind}; "
        f"name rows by their row_id, or read both with the same key="
    )


def _unanimous(votes: Votes, dense: npt.NDArray[Any]) -> Ints:
    """Return ``[n]`` the class on which all experts who voted agree, -1 elsewhere."""
    experts = dense[:, [kind == EXPERT for kind in votes.kinds]].astype(np.int64)
    highest = experts.max(axis=1, initial=-1)
    differ = ((experts >= 0) & (experts != highest[:, None])).any(axis=1)
    return np.where(differ, -1, highest)


def _report(
    model: Any,
    votes: Votes,
    task: Task,
    gold: Mapping[str, Any],
    known: Ints,
    sure: npt.NDArray[np.bool_],
    weak_weight: float,
) -> dict[str, Any]:
    return {
        "task": task.name,
        "model": type(model).__name__,
        "fit": getattr(model, "report", {}),
        "rows_asked": len(votes),
        "rows_labelled": len(sure),
        "rows_expert": int(sure.sum()),
        "gold_not_asked": sum(row_id not in votes.places for row_id in gold),
        "gold_rows": int((known >= 0).sum()),
        "weak_weight": weak_weight,
        "weak_weight_reason": WEAK_REASON if weak_weight == WEAK_WEIGHT else "given",
        "faults": {fault.source: fault.count for fault in votes.faults},
    }
