"""What the steps of a run compute: pure functions from stored payloads to payloads, importable by any worker.

A job's own source, and that of everything it calls, is part of the keys of its steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineshaft.core.events import emit
from lineshaft.core.table import ROW_ID, Table, file_digest, read_table, split
from lineshaft.errors import DataError, StepFailed

if TYPE_CHECKING:
    import pyarrow as pa

    from lineshaft.collect.votes import Votes
    from lineshaft.core.codec import Tensors
    from lineshaft.core.task import Task


def read(
    path: Path, digest: str, key: Sequence[str], shares: Mapping[str, float] | None, group: str | None, seed: int
) -> dict[str, pa.Table]:
    """Read a file, name its rows, split them."""
    table = read_table(path, key or None)
    _require_unchanged(path, digest)
    return cut(table, shares, group, seed)


def identify(
    rows: pa.Table, key: Sequence[str], shares: Mapping[str, float] | None, group: str | None, seed: int
) -> dict[str, pa.Table]:
    """Name and split rows that came from memory."""
    return cut(read_table(Table(rows), key or None), shares, group, seed)


def cut(table: Table, shares: Mapping[str, float] | None, group: str | None, seed: int) -> dict[str, pa.Table]:
    """Split a table, or leave it whole under the name ``rows``."""
    if shares is None:
        return {"rows": table.arrow}
    return {name: part.arrow for name, part in split(table, shares, by=group, seed=seed).items()}


def infer_schema(
    rows: pa.Table, ranges: bool, gold: Sequence[str], key: Sequence[str], group: Sequence[str]
) -> dict[str, str]:
    """Propose a schema."""
    from lineshaft.verify.infer import infer_schema as infer

    return {"schema": infer(Table(rows), ranges=ranges, gold=gold, key=key, group=group).annotated()}


def read_schema(path: Path, digest: str) -> dict[str, str]:
    """Read the schema that people keep, in its canonical form."""
    from lineshaft.verify.schema import Schema

    text = Schema.load(path).text()
    _require_unchanged(path, digest)
    return {"schema": text}


def check(rows: pa.Table, schema: str, environment: str | None) -> dict[str, Any]:
    """Check rows against the schema: those that pass, those that do not and why, and all that was found."""
    from lineshaft.verify.schema import Schema

    checked = Schema.parse(schema).quarantine(Table(rows), environment)
    return {
        "good": checked.good.payload(),
        "rejected": checked.rejected.payload(),
        "anomalies": checked.anomalies.payload(),
    }


def vote(rows: pa.Table, source: Any, classes: Sequence[str]) -> dict[str, pa.Table]:
    """Ask one source about all rows. Equal votes are equal bytes, whatever code gave them: its name stays outside."""
    from lineshaft.collect.apply import apply

    return _told(apply([source], Table(rows), classes=classes).with_digests([None]))


def vote_on_features(
    rows: pa.Table, tensors: Sequence[Tensors], source: Any, classes: Sequence[str]
) -> dict[str, pa.Table]:
    """Ask a source that looks at features, already computed."""
    ids = Table(rows.select([ROW_ID])).row_ids
    return _told(source.vote_from(ids, source.inputs.concat(tensors).values, classes))


def _told(votes: Votes) -> dict[str, pa.Table]:
    """Say on how many rows a source failed; one that fails on every row has a fault of its own."""
    for faults in votes.faults:
        said = faults.told(len(votes))
        if faults.count == len(votes):
            raise StepFailed(said)
        emit("source.failed", source=faults.source, rows=faults.count, reason=said)
    return {"votes": votes.payload()}


def fuse(
    votes: Sequence[pa.Table], rows: pa.Table, gold: pa.Table | None, task: Task, model: Any, weak_weight: float | None
) -> dict[str, Any]:
    """Weigh the votes and the experts' answers into labels; analyse the sources beside."""
    import numpy as np

    from lineshaft.collect.analysis import analyze
    from lineshaft.collect.labels import fuse as weigh
    from lineshaft.collect.votes import Votes

    ids = Table(rows.select([ROW_ID])).row_ids
    answers = known_answers(gold, task, ids)
    if not answers and (elsewhere := known_answers(gold, task)):
        raise DataError(
            f"gold is known for {len(elsewhere):,} rows, say {next(iter(elsewhere))!r}, and none of them is among the "
            f"{len(ids):,} rows to label, say {ids[0] if ids else None!r}; read both with the same key"
        )
    nothing = np.empty((len(ids), 0), np.int8)
    merged = (
        Votes.merge([Votes.from_payload(item) for item in votes])
        if votes
        else Votes.from_dense(nothing, [], classes=task.classes, row_ids=ids)
    )
    options = {} if weak_weight is None else {"weak_weight": weak_weight}
    labels = weigh(merged, task, gold=answers, model=model, **options)
    analysis = analyze(merged, gold=[answers.get(row, -1) for row in ids])
    return {
        "labels": labels.payload(),
        "analysis": {"sources": analysis.to_arrow().to_pylist(), "fusion": labels.report},
    }


def known_answers(gold: pa.Table | None, task: Task, ids: Sequence[str] | None = None) -> dict[str, int]:
    """Read the experts' answers: row to class number, for the given rows."""
    if gold is None or task.gold is None:
        return {}
    column = Table(gold).column(task.gold).to_pylist()
    wanted = None if ids is None else set(ids)
    answers = zip(Table(gold).row_ids, task.encode(column), strict=True)
    return {row: answer for row, answer in answers if answer >= 0 and (wanted is None or row in wanted)}


def features(rows: pa.Table, chunk: int, function: Any) -> dict[str, Tensors]:
    """Compute the features of one chunk."""
    part = Table(rows).chunks()[chunk]
    return {"tensors": function.compute(part.select(list(function.reads)))}


def _require_unchanged(path: Path, digest: str) -> None:
    """Refuse what was read of a file that is not, or no longer, the one that the step's key names."""
    if file_digest(path) != digest:
        raise DataError(f"{path.name} changed while it was being read; run again when its writer is done")
