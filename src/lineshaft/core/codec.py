"""The only place where stored bytes become objects: one table of kinds, four formats, none that can run code.

::

    object  --payload()-->  payload  --encode-->  bytes  --sha256-->  Artifact
    object  <-from_payload- payload  <-decode---  bytes

A *payload* is plain data: an Arrow table, named tensors, a JSON value or text. The classes of the stages turn
themselves into payloads and back; they never touch bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lineshaft.core.artifact import Artifact, digest_of
from lineshaft.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

PARQUET, SAFETENSORS, JSON, TEXT = "parquet", "safetensors", "json", "text"

FORMATS = {
    "Table": PARQUET,
    "Votes": PARQUET,
    "Labels": PARQUET,
    "Predictions": PARQUET,
    "Tensors": SAFETENSORS,
    "Model": SAFETENSORS,
    "Statistics": JSON,
    "Anomalies": JSON,
    "Report": JSON,
    "Blessing": JSON,
    "Value": JSON,
    "Schema": TEXT,
    "Text": TEXT,
}

Payload = Any


@dataclass(frozen=True)
class Tensors:
    """Named tensors and a JSON header.

    Attributes
    ----------
    values
        Name to tensor, any shape and dtype that safetensors knows.
    header
        A JSON object kept beside them.

    """

    values: dict[str, torch.Tensor]
    header: dict[str, Any] = field(default_factory=dict)


def encode(kind: str, payload: Payload) -> tuple[Artifact, bytes]:
    """Turn a payload into bytes and their name. The same payload always gives the same bytes."""
    form = _format(kind)
    meta: dict[str, Any] = {}
    if form == PARQUET:
        content, meta = _encode_parquet(payload)
    elif form == SAFETENSORS:
        content = _encode_tensors(payload)
        meta = {"tensors": {name: list(value.shape) for name, value in sorted(payload.values.items())}}
    elif form == JSON:
        content = _encode_json(payload)
    else:
        content = payload.encode()
    return Artifact(kind, digest_of(content), len(content), meta), content


def decode(kind: str, content: bytes) -> Payload:
    """Turn stored bytes back into a payload."""
    form = _format(kind)
    if form == PARQUET:
        return _decode_parquet(content)
    if form == SAFETENSORS:
        return _decode_tensors(content)
    if form == JSON:
        return json.loads(content)
    return content.decode()


def _format(kind: str) -> str:
    if kind not in FORMATS:
        raise DataError(f"there is no artifact kind {kind!r}; known: {', '.join(sorted(FORMATS))}")
    return FORMATS[kind]


def _encode_json(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces. NaN is refused: it is not JSON, and equal reports must be equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _encode_parquet(table: pa.Table) -> tuple[bytes, dict[str, Any]]:
    """Write one row group per chunk, so that chunks survive; note the digest of every column of every chunk."""
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd", write_statistics=False) as writer:
        for batch in table.to_batches():
            writer.write_batch(batch, row_group_size=max(1, batch.num_rows))
    content = sink.getvalue()
    return content, {"rows": table.num_rows, "chunks": _chunk_digests(content, table.schema)}


def _chunk_digests(content: bytes, schema: pa.Schema) -> list[dict[str, Any]]:
    """Digest the stored bytes of each column chunk with its type: equal values give equal digests, file by file."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(io.BytesIO(content))
    chunks = []
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        hashes = {field.name: hashlib.sha256(str(field.type).encode()) for field in schema}
        for position in range(group.num_columns):
            column = group.column(position)
            start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            hashes[column.path_in_schema.split(".")[0]].update(content[start : start + column.total_compressed_size])
        digests = {name: value.hexdigest()[:32] for name, value in hashes.items()}
        chunks.append({"rows": group.num_rows, "columns": digests})
    return chunks


def _decode_parquet(content: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    schema = file.schema_arrow
    batches = [batch for index in range(file.num_row_groups) for batch in _one_batch(file.read_row_group(index))]
    return pa.Table.from_batches(batches, schema=schema)


def _one_batch(group: pa.Table) -> list[pa.RecordBatch]:
    """Keep a row group as one batch: chunk borders are row group borders."""
    batches: list[pa.RecordBatch] = group.combine_chunks().to_batches()
    return batches


def _encode_tensors(payload: Tensors) -> bytes:
    from safetensors.torch import save

    # One metadata entry only: the order in which safetensors writes several is not defined.
    header = {"lineshaft": _encode_json(payload.header).decode()}
    values = {name: value.detach().cpu().contiguous() for name, value in sorted(payload.values.items())}
    return save(values, metadata=header)


def _decode_tensors(content: bytes) -> Tensors:
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return Tensors(load(content), json.loads(metadata.get("lineshaft", "{}")))
