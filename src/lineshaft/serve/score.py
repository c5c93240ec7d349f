"""Offline scoring, from file to file: the rows, checks and answers of the server, part by part, resumable at any point.

A part is a function of its input's digest, its row range, the model's digest and the job's settings, so a part made
again after a kill has the same bytes. Predictions have ``row_id``, ``label`` and ``p_CLASS`` (float32) per class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lineshaft.core.codec import encode
from lineshaft.core.events import progress
from lineshaft.core.table import ROW_ID, Table
from lineshaft.errors import DataError, Refused, UsageError
from lineshaft.serve.conform import Rows, conform
from lineshaft.serve.manifest import PARTS, PREDICTIONS, REJECTED, Manifest, Part, only_here, open_manifest
from lineshaft.serve.model import BATCH_ROWS, Served, predict
from lineshaft.serve.stream import Source, in_parts, open_source

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

PART_ROWS = 8192  # work that a kill can cost, against files and syncs per million rows


@dataclass(frozen=True)
class Scored:
    """What a finished job holds.

    Attributes
    ----------
    folder
        Where it is.
    parts
        Number of parts; ``reused`` of them were there before this run.
    rows
        Rows read; ``rejected`` of them have no prediction but a line in the rejected files.

    """

    folder: Path
    parts: int
    reused: int
    rows: int
    rejected: int

    @property
    def predictions(self) -> list[Path]:
        """The files with predictions, in the order of the input."""
        return sorted((self.folder / PREDICTIONS).glob(PARTS))

    @property
    def rejections(self) -> list[Path]:
        """The files with rejected rows and their reasons, in the order of the input."""
        return sorted((self.folder / REJECTED).glob(PARTS))


def score(
    served: Served,
    data: Any,
    out: str | Path,
    *,
    key: str | Sequence[str] | None = None,
    part_rows: int = PART_ROWS,
    batch_rows: int = BATCH_ROWS,
    max_rejected: int | None = None,
) -> Scored:
    """Predict every row of one or several inputs into a folder of Parquet files.

    Run again after a kill, it goes on behind the last committed part; run again when done, it changes nothing.

    Parameters
    ----------
    served
        The model with its schema; rows that the server would refuse are rejected here, with the same reasons.
    data
        A path (Parquet, CSV, TSV, JSON lines; text also .gz, .bz2), several, or rows in memory.
    out
        An empty or new folder, or that of the same job.
    key
        Column or columns that name a row, as in `lineshaft.core.table.read_table`.
    part_rows
        Rows per part.
    batch_rows
        Rows that the model gets at once, at most 256.
    max_rejected
        Stop when more rows than this are rejected; None: never.

    Raises
    ------
    DataError
        An input cannot be read, lacks a column or changed meanwhile; the folder belongs to another job or holds other
        files.
    Refused
        More than ``max_rejected`` rows rejected, or another process writes to the folder.
    StepFailed
        The model answered with something else than probabilities.

    """
    if part_rows < 1 or not 1 <= batch_rows <= BATCH_ROWS:
        raise UsageError(
            f"part_rows={part_rows}, batch_rows={batch_rows}: need at least 1, and at most {BATCH_ROWS} per batch"
        )
    names = () if key is None else (key,) if isinstance(key, str) else tuple(key)
    sources = [open_source(item, served.model.reads, names) for item in _inputs(data)]
    with only_here(Path(out)):
        manifest = open_manifest(Path(out), _job(served, sources, names, part_rows, batch_rows))
        before = len(manifest.parts)
        with progress("score") as advance:
            for number, source in enumerate(sources):
                for rows in _score_source(manifest, served, number, source):
                    _bound_rejected(manifest, max_rejected)
                    advance(rows)
        manifest.finish()
    done = manifest.parts.values()
    return Scored(Path(out), len(done), before, sum(p.rows for p in done), sum(p.rejected for p in done))


def _inputs(data: Any) -> list[Any]:
    if isinstance(data, (list, tuple)) and data and isinstance(data[0], (str, Path)):
        return list(data)
    return [data]


def _job(
    served: Served, sources: list[Source], key: tuple[str, ...], part_rows: int, batch_rows: int
) -> dict[str, Any]:
    """Return everything that the output is a function of, as JSON."""
    return {
        "inputs": [{"name": source.name, "digest": source.digest} for source in sources],
        "model": served.model.digest,
        "classes": list(served.model.classes),
        "reads": [f"{name}: {served.types[name]}" for name in served.model.reads],
        "schema": served.schema_digest,
        "key": list(key),
        "part_rows": part_rows,
        "batch_rows": batch_rows,
    }


def _score_source(manifest: Manifest, served: Served, number: int, source: Source) -> Iterator[int]:
    """Yield the rows of each part once it is committed; take the new parts back if they are not of the job's input."""
    size = manifest.job["part_rows"]
    done: Collection[int] = {part for owner, part in manifest.parts if owner == number}
    try:
        for part, count, raw in in_parts(source, size, done):
            if raw is not None:
                _score_part(manifest, served, source, (number, part), raw)
            yield count
    except DataError:
        _require_unchanged(manifest, number, source, done)  # the better reason, if it is one
        raise
    _require_unchanged(manifest, number, source, done)


def _score_part(manifest: Manifest, served: Served, source: Source, place: tuple[int, int], raw: pa.Table) -> None:
    rows = conform(raw, served, source, place[1] * manifest.job["part_rows"])
    predictions = _encoded(_predictions(served, rows, manifest.job["batch_rows"]))
    rejected = _encoded(rows.rejected())
    bad = raw.num_rows - len(rows.places)
    manifest.commit(Part(*place, raw.num_rows, bad, predictions[0], rejected[0]), predictions[1], rejected[1])


def _require_unchanged(manifest: Manifest, number: int, source: Source, done: Collection[int]) -> None:
    fresh = [place for place in manifest.parts if place[0] == number and place[1] not in done]
    if not fresh:
        return
    try:
        source.require_unchanged()
    except DataError:
        manifest.forget(fresh)
        raise


def prediction_table(row_ids: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> pa.Table:
    """Return predictions as a table: ``row_id``, ``label`` and ``p_CLASS`` for each class.

    Parameters
    ----------
    row_ids
        Identities of the rows.
    probabilities
        float32 [rows, classes].
    classes
        Their names.

    """
    best = probabilities.argmax(axis=1)
    columns = {
        ROW_ID: pa.array(row_ids, pa.string()),
        "label": pa.array([classes[c] for c in best.tolist()], pa.string()),
    }
    for c, name in enumerate(classes):
        columns[f"p_{name}"] = pa.array(np.ascontiguousarray(probabilities[:, c]), pa.float32())
    return pa.table(columns)


def _predictions(served: Served, rows: Rows, batch_rows: int) -> pa.Table:
    classes = served.model.classes
    batches = rows.good.combine_chunks().to_batches(max_chunksize=batch_rows)
    answers = [predict(served.model, batch) for batch in batches if batch.num_rows]
    probabilities = np.concatenate([np.empty((0, len(classes)), np.float32), *answers])
    return prediction_table([rows.ids[place] for place in rows.places], probabilities, classes)


def _encoded(table: pa.Table) -> tuple[str, bytes | None]:
    """Return digest and bytes of a file with one row group; nothing for a table without rows."""
    if not table.num_rows:
        return "", None
    artifact, content = encode("Predictions", Table(table.combine_chunks()).payload())
    return artifact.digest, content


def _bound_rejected(manifest: Manifest, most: int | None) -> None:
    total = sum(part.rejected for part in manifest.parts.values())
    if most is not None and total > most:
        raise Refused(
            f"{total} rows rejected, max_rejected is {most}; the files under {REJECTED} have their reasons: mend the "
            "data, or raise max_rejected"
        )
