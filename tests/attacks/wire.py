"""Raw bytes to a server and back, and what every refusal must look like."""

from __future__ import annotations

import http.client
import io
import json
import socket
from dataclasses import dataclass

from serving import TOKEN

PREDICT = "/v1/models/reviews/predict"
TELLING = (
    "Traceback",
    'File "',
    ".py",
    "/work",
    "/usr",
    "/home",
    "/root",
    "/tmp",
    "site-packages",
    "lineshaft.serve",
    TOKEN,
)


@dataclass
class Raw:
    status: int
    headers: dict
    content: bytes


class _Socket:
    """What http.client wants of a socket that has been read already."""

    def __init__(self, content):
        self.content = content

    def makefile(self, *_args, **_more):
        return io.BytesIO(self.content)


def connect(url):
    host, port = url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def receive(connection):
    """Read to the end of the connection, or of the first answer if the server keeps it open."""
    content = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            more = b""
        content += more
        head, gap, body = content.partition(b"\r\n\r\n")
        if not more or (gap and len(body) >= _length(head)):
            break
    assert content, "the server closed the connection without a word"
    response = http.client.HTTPResponse(_Socket(content))
    response.begin()
    return Raw(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


def _length(head):
    lengths = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(lengths[0]) if lengths else 1 << 40


def send(url, content):
    with connect(url) as connection:
        try:
            connection.sendall(content)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the server has answered and closed; its answer is still to be read
        return receive(connection)


def head(url, method="POST", path=PREDICT, *, token=TOKEN, host=None, length=None, **headers):
    """The bytes of a request's head; keyword names become header names."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host if host is not None else url.removeprefix('http://')}"]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += [f"Content-Length: {length}"] if length is not None else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def request(url, body=b"", **more):
    return head(url, length=len(body), **more) + body


def refused(answer, status, code):
    """One JSON shape, the right status, and nothing that tells of the inside."""
    assert answer.status == status, answer
    text = answer.content.decode()
    assert answer.headers["content-type"] == "application/json"
    error = json.loads(text)["error"]
    assert set(json.loads(text)) == {"error"}
    assert error["code"] == code
    assert error["message"]
    assert isinstance(error["hint"], str)
    for word in TELLING:
        assert word not in text
        assert word not in str(answer.headers)
    return error
