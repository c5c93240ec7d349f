"""The Open Inference Protocol V2: one tensor per column in, ``label`` and ``probabilities`` out, JSON or binary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from lineshaft.core.admit import Limits, admit_json, refused
from lineshaft.serve.answer import Answer, json_answer
from lineshaft.serve.tensors import datatype_of, from_bytes, from_json, shape_of, to_bytes

if TYPE_CHECKING:
    from lineshaft.serve.model import Served
    from lineshaft.serve.rows import RowReader

HEADER_LENGTH = b"inference-header-content-length"

_LABEL, _PROBABILITIES = "label", "probabilities"
_ID_CHARACTERS = 256


@dataclass(frozen=True)
class Inference:
    """A request that has been read.

    Attributes
    ----------
    rows
        One mapping per row.
    outputs
        Wanted outputs in their order, and whether each is binary.
    id
        The client's name for the request, or None.
    seconds
        Time the client allows, or None.

    """

    rows: list[dict[str, Any]]
    outputs: dict[str, bool]
    id: str | None
    seconds: float | None


def metadata(name: str, version: str, served: Served) -> dict[str, Any]:
    """Return what ``GET /v2/models/NAME`` says."""
    inputs = []
    for column in served.model.reads:
        datatype, shape = datatype_of(served.types[column])
        inputs.append({"name": column, "datatype": datatype, "shape": [-1, *shape]})
    classes = len(served.model.classes)
    return {
        "name": name,
        "versions": [version],
        "platform": "lineshaft",
        "inputs": inputs,
        "outputs": [
            {"name": _LABEL, "datatype": "BYTES", "shape": [-1]},
            {"name": _PROBABILITIES, "datatype": "FP32", "shape": [-1, classes]},
        ],
        "parameters": {"digest": served.model.digest, "classes": list(served.model.classes)},
    }


def read(body: bytes, header_length: bytes | None, reader: RowReader, limits: Limits) -> Inference:
    """Read an inference request; sizes are compared before any tensor is built.

    Raises
    ------
    AdmissionError
        ``malformed``, ``too_large`` or ``schema``.

    """
    cut = _json_length(header_length, len(body))
    request = _object(admit_json(body[:cut], limits), "the request")
    inputs = request.get("inputs")
    if type(inputs) is not list or not inputs or len(inputs) > limits.values:
        raise refused("malformed", "inputs is not a list of tensors", "send one tensor per column that the model reads")
    names = _names(inputs)
    reader.columns_fit(names)
    columns = _columns(inputs, memoryview(body)[cut:], reader.lists, limits)
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise refused("malformed", f"the inputs have {sorted(lengths)} rows", "give every tensor the same first size")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    parameters = _parameters(request, "the request")
    return Inference(rows, _outputs(request, parameters), _id(request), _seconds(parameters))


def answer(name: str, version: str, served: Served, asked: Inference, probabilities: np.ndarray) -> Answer:
    """Return the answer, in JSON alone or with raw tensors behind it."""
    labels = [served.model.classes[c] for c in probabilities.argmax(axis=1).tolist()]
    tensors, tail = [], []
    for output, binary in asked.outputs.items():
        tensor: dict[str, Any] = {"name": output}
        if output == _LABEL:
            tensor |= {"datatype": "BYTES", "shape": [len(labels)]}
            raw: Any = to_bytes(labels) if binary else labels
        else:
            tensor |= {"datatype": "FP32", "shape": list(probabilities.shape)}
            raw = probabilities.astype("<f4").tobytes() if binary else np.ascontiguousarray(probabilities).ravel()
        if binary:
            tensor["parameters"] = {"binary_data_size": len(raw)}
            tail.append(raw)
        else:
            tensor["data"] = raw
        tensors.append(tensor)
    reply: dict[str, Any] = {"model_name": name, "model_version": version, "outputs": tensors}
    reply |= {"id": asked.id} if asked.id is not None else {}
    reply["parameters"] = {"digest": served.model.digest}
    if not tail:
        return json_answer(reply)
    head = orjson.dumps(reply, option=orjson.OPT_SERIALIZE_NUMPY)
    kind = ((b"content-type", b"application/octet-stream"), (HEADER_LENGTH, str(len(head)).encode()))
    return Answer(200, head + b"".join(tail), kind)


def _json_length(header: bytes | None, size: int) -> int:
    if header is None:
        return size
    if not header.isdigit() or len(header) > 12 or int(header) > size:
        shown = header[:20].decode("latin-1")
        raise refused(
            "malformed",
            f"Inference-Header-Content-Length is {shown!r}, the body has {size} bytes",
            "send the JSON's length",
        )
    return int(header)


def _names(inputs: list[Any]) -> list[str]:
    names = list[str]()
    for tensor in inputs:
        name = _object(tensor, "an input").get("name")
        if type(name) is not str:
            raise refused("malformed", "an input has no name", "name each tensor after its column")
        names.append(name)
    if len(set(names)) != len(names):
        raise refused(
            "malformed", f"{len(names)} inputs have {len(set(names))} different names", "send each column once"
        )
    return names


def _columns(inputs: list[dict[str, Any]], tail: memoryview, lists: frozenset[str], limits: Limits) -> list[list[Any]]:
    """Return the rows of each tensor; the binary sizes must add up to the bytes behind the JSON."""
    sizes = [_binary_size(tensor) for tensor in inputs]
    announced = sum(size for size in sizes if size is not None)
    if announced != len(tail):
        raise refused(
            "malformed",
            f"binary_data_size adds up to {announced}, {len(tail)} bytes follow the JSON",
            "make them agree",
        )
    columns, place = [], 0
    for tensor, size in zip(inputs, sizes, strict=True):
        name, shape, datatype = tensor["name"], shape_of(tensor, limits), _datatype(tensor)
        listed = name in lists
        if size is None:
            columns.append(from_json(name, datatype, shape, tensor.get("data"), lists=listed))
        else:
            columns.append(from_bytes(name, datatype, shape, tail[place : place + size], lists=listed))
            place += size
    return columns


def _binary_size(tensor: dict[str, Any]) -> int | None:
    size = _parameters(tensor, "an input").get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0 or "data" in tensor:
        raise refused(
            "malformed", f"{tensor['name']!r} has a binary_data_size that cannot be", "send a size, and no data"
        )
    return size


def _datatype(tensor: dict[str, Any]) -> str:
    datatype = tensor.get("datatype")
    if type(datatype) is not str:
        raise refused("malformed", f"{tensor['name']!r} has no datatype", "send BYTES, FP32, INT64, ...")
    return datatype


def _outputs(request: dict[str, Any], parameters: dict[str, Any]) -> dict[str, bool]:
    default = parameters.get("binary_data_output") is True
    outputs = request.get("outputs")
    if outputs is None:
        return {_LABEL: default, _PROBABILITIES: default}
    if type(outputs) is not list or not outputs:
        raise refused("malformed", "outputs is not a list of outputs", "leave it out to get label and probabilities")
    wanted: dict[str, bool] = {}
    for output in outputs:
        name = _object(output, "an output").get("name")
        if name not in {_LABEL, _PROBABILITIES} or name in wanted:
            raise refused(
                "malformed",
                f"the output {str(name)[:80]!r} is unknown or asked for twice",
                "ask for label, probabilities",
            )
        wanted[name] = _parameters(output, "an output").get("binary_data", default) is True
    return wanted


def _id(request: dict[str, Any]) -> str | None:
    value = request.get("id")
    if value is not None and (type(value) is not str or len(value) > _ID_CHARACTERS):
        raise refused(
            "malformed", f"id is not a string of at most {_ID_CHARACTERS} characters", "send a shorter id or none"
        )
    return value


def _seconds(parameters: dict[str, Any]) -> float | None:
    timeout = parameters.get("timeout")
    if timeout is None:
        return None
    if type(timeout) is not int or timeout <= 0:
        raise refused("malformed", f"the parameter timeout is {str(timeout)[:40]}", "send microseconds above 0")
    return timeout / 1e6


def _parameters(owner: dict[str, Any], what: str) -> dict[str, Any]:
    return _object(owner.get("parameters", {}), f"parameters of {what}")


def _object(value: Any, what: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise refused("malformed", f"{what} is not a JSON object", "see the Open Inference Protocol V2")
    return value
