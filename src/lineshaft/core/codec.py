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


def immutable(kind: str) -> bool:
    """Say whether what `decode` gives for this kind cannot be changed in place."""
    return _format(kind) in {PARQUET, TEXT}


def _format(kind: str) -> str:
    if kind not in FORMATS:
        raise DataError(f"there is no artifact kind {kind!r}; known: {', '.join(sorted(FORMATS))}")
    return FORMATS[kind]


def _encode_json(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces. NaN is refused: it is not JSON, and equal reports must be equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _encode_parquet(table: pa.Table) -> tuple[bytes, dict[str, Any]]:
    """Write one row group per chunk, so that chunks survive; note the digest of every column of every chunk."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, sink = plain(table), io.BytesIO()
    try:
        # The names of lists' items are kept: what was read back is to be the same bytes again.
        how: dict[str, Any] = {"compression": "zstd", "write_statistics": False, "use_compliant_nested_type": False}
        with pq.ParquetWriter(sink, table.schema, **how) as writer:
            for batch in chunks_of(table):
                writer.write_batch(batch, row_group_size=batch.num_rows)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
        raise DataError(f"the table cannot be stored: {error}; cast that column to another type") from error
    content = sink.getvalue()
    return content, {"rows": table.num_rows, "chunks": _chunk_digests(content, table.schema)}


def chunks_of(table: pa.Table) -> list[pa.RecordBatch]:
    """Return the chunks of a table; one without rows is none (Arrow keeps some of those and drops others)."""
    return [batch for batch in table.to_batches() if batch.num_rows]


def plain(table: pa.Table) -> pa.Table:
    """Write out dictionaries and views: equal values are to be equal bytes, however they came."""
    import pyarrow as pa

    for position, column in enumerate(table.schema):
        kind = plain_type(column.type)
        if kind != column.type:
            values = table.column(position)
            if pa.types.is_dictionary(column.type):  # Arrow decodes no dictionary of views
                values = values.cast(pa.dictionary(column.type.index_type, kind))
            table = table.set_column(position, column.with_type(kind), values.cast(kind))
    return table


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the Arrow type of the same values without dictionaries and views, inside lists and structs too."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.string() if pa.types.is_string_view(kind) else pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(plain_type(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = kind.value_field.with_type(plain_type(kind.value_type))
        return pa.list_(item) if pa.types.is_list(kind) else pa.large_list(item)
    return kind


def _chunk_digests(content: bytes, schema: pa.Schema) -> list[dict[str, Any]]:
    """Digest the stored bytes of each column chunk with its type: equal values give equal digests, file by file."""
    import pyarrow.parquet as pq

    footer = pq.read_metadata(io.BytesIO(content))
    owners = [field.name for field in schema for _ in range(_leaves(field.type))]  # of the file's columns
    chunks = []
    for index in range(footer.num_row_groups):
        group = footer.row_group(index)
        hashes = {field.name: hashlib.sha256(str(field.type).encode()) for field in schema}
        for position in range(group.num_columns):
            column = group.column(position)
            start = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
            hashes[owners[position]].update(content[start : start + column.total_compressed_size])
        digests = {name: value.hexdigest()[:32] for name, value in hashes.items()}
        chunks.append({"rows": group.num_rows, "columns": digests})
    return chunks


def _leaves(kind: pa.DataType) -> int:
    """Count the Parquet columns that hold a column of this type."""
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    inner = [kind.field(index).type for index in range(kind.num_fields)]
    return sum(map(_leaves, inner)) if inner else 1


def _decode_parquet(content: bytes) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(content))
    schema = file.schema_arrow
    batches = [batch for index in range(file.num_row_groups) for batch in _one_batch(file.read_row_group(index))]
    return pa.Table.from_batches(batches, schema=schema)


def _one_batch(group: pa.Table) -> list[pa.RecordBatch]:
    """Keep a row group as one batch: chunk borders are row group borders."""
    return chunks_of(group.combine_chunks())


def _encode_tensors(payload: Tensors) -> bytes:
    from safetensors.torch import save

    # One metadata entry only: the order in which safetensors writes several is not defined.
    header = {"lineshaft": _encode_json(payload.header).decode()}
    values: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in sorted(payload.values.items()):
        kept = value.detach().cpu().contiguous()
        storage = kept.untyped_storage().data_ptr()
        values[name] = kept.clone() if storage in seen else kept  # safetensors refuses tensors that share memory
        seen.add(storage)
    return save(values, metadata=header)


def _decode_tensors(content: bytes) -> Tensors:
    from safetensors.torch import load

    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return Tensors(load(content), json.loads(metadata.get("lineshaft", "{}")))
