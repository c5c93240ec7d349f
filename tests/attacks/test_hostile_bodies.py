"""Bodies that are not what a client of good will sends: each a clear refusal, none of them costly."""

import json
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from serving import GOOD
from wire import PREDICT, connect, head, receive, refused, request, send

INFER = "/v2/models/reviews/infer"


def predict(server, rows):
    return send(server, request(server, json.dumps({"rows": rows}).encode()))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({**GOOD, "stars": "four"}, "type"), ({**GOOD, "stars": 1.5}, "type"), ({**GOOD, "stars": True}, "type"),
        ({**GOOD, "text": 3}, "type"), ({**GOOD, "text": ["a"]}, "type"), ({**GOOD, "score": {"a": 1}}, "type"),
        ({**GOOD, "stars": 2**200}, "type"), ({**GOOD, "stars": 2**63}, "range"), ({**GOOD, "stars": -1}, "range"),
        ({"text": "a", "stars": 1}, "missing_column"), ({}, "missing_column"), ({**GOOD, "extra": 1}, "unknown_column"),
        ({**GOOD, "__class__": 1}, "unknown_column"), ({**GOOD, "../../etc/passwd": 1}, "unknown_column"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit(server, row, reason):
    error = refused(predict(server, [GOOD, row]), 422, "schema")
    assert reason in {r["reason"] for r in error["reasons"]}
    assert {r["row"] for r in error["reasons"]} == {1}


@pytest.mark.parametrize(
    "word", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"nan", b"0x10", b"1_000", b"+1", b".5", b"9" * 400]
)
def test_numbers_that_json_does_not_have(server, word):
    body = b'{"rows":[{"text":"a","stars":1,"score":' + word + b"}]}"
    refused(send(server, request(server, body)), 400, "malformed")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_through_the_binary_door_meets_the_schema(server, value):
    body, length = binary(
        [
            ("text", "BYTES", b"\1\0\0\0a"),
            ("stars", "INT64", struct.pack("<q", 1)),
            ("score", "FP64", struct.pack("<d", value)),
        ]
    )
    answer = send(server, request(server, body, path=INFER, Inference_Header_Content_Length=length))
    assert refused(answer, 422, "schema")["reasons"][0]["reason"] == "not_finite"


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"null", b"[]", b"{}", b'"rows"', b'{"rows":{}}', b'{"rows":[]}', b'{"rows":[1]}', b'{"rows":null}', b"\x00" * 100,
     b'{"rows":[{"text":"\xff\xfe","stars":1,"score":1}]}', b'{"rows":[{"text":"\\ud800","stars":1,"score":1}]}', b'{"rows":[',
     b'{"rows":[{"text":"a","stars":1,"score":1}],"more":1}', b'\xef\xbb\xbf{"rows":[]}', "{'rows': []}".encode("utf-16"),
     b'{"rows":[],"rows":[{"text":"a","stars":1,"score":1}]}', b'{"rows":[{"text":"a","stars":1,"stars":2,"score":1}]}',
     b'{"rows":[{"text":"a","stars":1,"st\\u0061rs":2,"score":1}]}', b"rows=1&x=2", b"<rows/>", b"(dp0\n."],
)  # fmt: skip
def test_bodies_that_are_not_the_json_asked_for(server, body):
    refused(send(server, request(server, body)), 400, "malformed")


@pytest.mark.parametrize(
    "body",
    [b"[" * 100_000, b'{"rows":' * 50_000, b'{"rows":[' + b"[" * 20 + b"]" * 20 + b"]}", b'{"a":[' * 9 + b"]}" * 9],
)
def test_deep_nesting(server, body):
    error = refused(send(server, request(server, body)), 413, "too_large")
    assert "nested" in error["message"]


def test_many_tiny_values_rows_and_long_strings(server):
    refused(send(server, request(server, b'{"rows":[' + b"{}," * 1_500_000 + b"{}]}")), 413, "too_large")
    refused(predict(server, [GOOD] * 1025), 413, "too_large")
    refused(predict(server, [{**GOOD, "text": "x" * 300_000}]), 413, "too_large")


def peak_memory():
    """Bytes of memory at the highest since `forget_peak`."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forget_peak():
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        pytest.skip(f"this system does not let a process reset its peak memory: {error}")
    return peak_memory()


def test_fifty_megabytes_are_refused_and_never_held(server):
    content = head(server, length=50_000_000)
    piece, before = b"x" * 1_000_000, forget_peak()
    with connect(server) as connection:
        connection.sendall(content)
        for _ in range(50):
            connection.sendall(piece)
        error = refused(receive(connection), 413, "too_large")
    assert "50000000 bytes announced, the limit is 8388608" in error["message"]
    assert peak_memory() - before < 20_000_000


def test_fifty_megabytes_in_chunks_are_refused_and_never_held(server):
    piece, before = b"f4240\r\n" + b" " * 1_000_000 + b"\r\n", forget_peak()
    with connect(server) as connection:
        connection.sendall(head(server, Transfer_Encoding="chunked"))
        for _ in range(50):
            connection.sendall(piece)
        connection.sendall(b"0\r\n\r\n")
        error = refused(receive(connection), 413, "too_large")
    assert "more than 8388608 bytes came" in error["message"]
    assert peak_memory() - before < 40_000_000


def test_an_announced_giant_is_refused_without_a_byte_of_body(server):
    refused(send(server, head(server, length=10**15, Connection="close", Expect="100-continue")), 413, "too_large")


def test_a_body_sent_by_somebody_without_a_token_is_not_kept(server):
    content = head(server, token=None, length=20_000_000, Connection="close")
    refused(send(server, content + b"x" * 20_000_000), 401, "token")


def test_a_content_length_longer_than_the_body_times_out(server):
    refused(send(server, head(server, length=100) + b'{"rows":['), 408, "timeout")


def test_a_content_length_shorter_than_the_body_is_no_second_request(server):
    with connect(server) as connection:
        connection.sendall(head(server, length=5) + b'{"rowGET / HTTP/1.1\r\n\r\n')
        refused(receive(connection), 400, "malformed")


def test_an_endless_trickle_of_chunks_times_out(server):
    with connect(server) as connection:
        connection.sendall(head(server, Transfer_Encoding="chunked") + b"1\r\n{\r\n")
        refused(receive(connection), 408, "timeout")


@pytest.mark.parametrize(
    "chunk", [b"zz\r\n{}\r\n", b"-1\r\n{}\r\n", b"ffffffffffffffffff\r\n{}", b"2\r\n{}garbage\r\n0\r\n\r\n"]
)
def test_chunks_that_are_not(server, chunk):
    answer = send(server, head(server, Transfer_Encoding="chunked") + chunk)
    refused(answer, 400, "malformed")


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/octet-stream",
        "application/xml",
    ],
)
def test_other_media_types(server, kind):
    refused(send(server, request(server, b"{}", Content_Type=kind)), 415, "media_type")


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "zstd"])
def test_compressed_bodies_are_not_unpacked(server, coding):
    refused(send(server, request(server, b"\x1f\x8b" + b"\0" * 50, Content_Encoding=coding)), 415, "media_type")


def binary(tensors, sizes=None, shape=None, **request):
    """A binary inference body and the length of its JSON; ``sizes`` and ``shape`` may lie."""
    inputs = [
        {"name": name, "shape": shape or [1], "datatype": datatype, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, raw in tensors
    ]
    for tensor, size in zip(inputs, sizes or [], strict=False):
        tensor["parameters"]["binary_data_size"] = size
    content = json.dumps({"inputs": inputs, **request}).encode()
    return content + b"".join(raw for _, _, raw in tensors), len(content)


HONEST = [("text", "BYTES", b"\1\0\0\0a"), ("stars", "INT64", b"\1" + b"\0" * 7), ("score", "FP64", b"\0" * 8)]


def infer(server, body, length):
    return send(server, request(server, body, path=INFER, Inference_Header_Content_Length=length))


def test_the_honest_form_of_the_lies_below_is_answered(server):
    assert infer(server, *binary(HONEST)).status == 200


@pytest.mark.parametrize("length", ["-1", "x", "", " ", "1e3", "99999", "9" * 30, "+10", "10, 10", "٣"])
def test_lengths_of_the_json_part_that_cannot_be(server, length):
    body, _ = binary(HONEST)
    encoded = length.encode("utf-8").decode("latin-1")
    refused(infer(server, body, encoded), 400, "malformed")


@pytest.mark.parametrize(
    "sizes",
    [
        [4, 8, 8],
        [6, 8, 8],
        [5, 8, 9],
        [5, 8, 2**62],
        [5, -8, 24],
        [5, True, 8],
        [5, "8", 8],
        [5, 8.0, 8],
        [21, 0, 0],
        [0, 0, 21],
    ],
)
def test_binary_sizes_that_lie(server, sizes):
    refused(infer(server, *binary(HONEST, sizes)), 400, "malformed")


@pytest.mark.parametrize(
    ("shape", "status", "code"),
    [
        ([2], 400, "malformed"), ([0], 400, "malformed"), ([-1], 400, "malformed"), ([1, -1], 400, "malformed"),
        ([2**63], 413, "too_large"), ([1, 2**32, 2**32], 413, "too_large"), ([1] * 9, 400, "malformed"), ([None], 400, "malformed"),
    ],
)  # fmt: skip
def test_shapes_that_lie(server, shape, status, code):
    refused(infer(server, *binary(HONEST, shape=shape)), status, code)


@pytest.mark.parametrize("raw", [b"\xff\xff\xff\xffa", b"\1\0\0\0\xff", b"\0\0\0\0a", b"\2\0\0\0a", b"\1\0\0"])
def test_texts_whose_lengths_lie(server, raw):
    refused(infer(server, *binary([("text", "BYTES", raw), *HONEST[1:]])), 400, "malformed")


@pytest.mark.parametrize("datatype", ["OBJECT", "O", "V8", "BF16", "int64", "", "INT64" * 50, "M8[ns]", "f8,f8"])
def test_datatypes_that_are_not(server, datatype):
    refused(infer(server, *binary([HONEST[0], ("stars", datatype, b"\0" * 8), HONEST[2]])), 400, "malformed")


def test_a_client_that_vanishes_in_the_middle(server):
    for content in (
        head(server, length=1000) + b"{",
        request(server, json.dumps({"rows": [GOOD]}).encode()),
        b"POST /v1",
    ):
        connection = connect(server)
        connection.sendall(content)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, not a goodbye
        connection.close()


def test_nothing_is_served_but_by_post(server):
    assert (
        refused(send(server, request(server, b"", method="GET", path=PREDICT)), 405, "method")["message"]
        == "the method must be POST"
    )
