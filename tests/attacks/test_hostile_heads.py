"""Heads from strangers: tokens, hosts, origins, names, methods, floods, and what is not HTTP at all."""

import json
import time

import pytest
from serving import GOOD, TOKEN
from wire import connect, head, receive, refused, request, send

BODY = json.dumps({"rows": [GOOD]}).encode()


@pytest.mark.parametrize(
    "value",
    [None, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Bearer  {TOKEN}", f"Basic {TOKEN}", TOKEN,
     f"Bearer {TOKEN.upper()}", "Bearer \xff\xfe", f"Bearer {'x' * 5000}", f"Token {TOKEN}"],
)  # fmt: skip
def test_wrong_tokens(server, value):
    headers = {} if value is None else {"Authorization": value}
    refused(send(server, request(server, BODY, token=None, **headers)), 401, "token")


def test_two_tokens_are_none(server):
    refused(send(server, request(server, BODY, authorization="Bearer other-token-123456789")), 401, "token")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1.evil.example:{port}", "localhost:{port}.evil.example",
     "localhost:{port}@evil.example", "", "127.0.0.1:{port}/", "[::]:{port}", "0.0.0.0:{port}", "127.0.0.2:{port}", "\xff", "localhost:0{port}"],
)  # fmt: skip
def test_foreign_hosts(server, host):
    port = server.rsplit(":", 1)[1]
    for path in ("/healthz", "/v1/models/reviews/predict"):
        refused(send(server, request(server, BODY, path=path, host=host.format(port=port))), 403, "host")


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_own_hosts(server, host):
    assert send(server, request(server, BODY, host=host.format(port=server.rsplit(":", 1)[1]))).status == 200


def test_no_host_and_two_hosts(server):
    refused(send(server, b"GET /healthz HTTP/1.0\r\n\r\n"), 403, "host")
    own = server.removeprefix("http://")
    refused(send(server, f"GET /healthz HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n".encode()), 403, "host")
    refused(send(server, b"GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 403, "host")


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1", "https://127.0.0.1:{port}", "http://127.0.0.1:{port}.evil.example",
     "file://", "", "http://evil.example:{port}", "chrome-extension://abc"],
)  # fmt: skip
def test_foreign_origins(server, origin):
    answer = send(server, request(server, BODY, Origin=origin.format(port=server.rsplit(":", 1)[1])))
    refused(answer, 403, "origin")


def test_own_origin(server):
    assert send(server, request(server, BODY, Origin=server)).status == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/models/../predict", "/v1/models/..%2f..%2fetc%2fpasswd/predict", "/v1/models/%2e%2e/predict", "/v1/models/%2e%2e%2f/predict",
     "/v1/models/reviews%00/predict", "/v1/models/reviews%00.json/predict", "/v1/models/%252e%252e/predict", "/v1/models//predict",
     "/v1/models/..\\..\\secret/predict", "/v1/models/REVIEWS/predict", "/v1/models/reviews%0a/predict", "/v1/models/reviews%20/predict",
     "/v1/models/%ff%fe/predict", "/v1/models/" + "a" * 65 + "/predict", "/v1/models/" + "a" * 5000 + "/predict", "/v1/models/~root/predict",
     "/v1/models/reviews/predict/", "/v1/models/reviews@live@live/predict", "/v1/models/reviews@../predict", "/v1/models/$(id)/predict",
     "/v2/models/reviews/versions/../infer", "/v2/models/reviews/versions/%2e%2e/infer", "/v2/models/reviews/versions//infer", "/../../etc/passwd",
     "//v1/models/reviews/predict", "/v1/models/reviews;x=1/predict", "/.git/config", "/v2/repository/index", "/v1", "/"],
)  # fmt: skip
def test_names_and_paths_that_lead_nowhere(server, path):
    error = refused(send(server, request(server, BODY, path=path)), 404, "unknown")
    assert "etc" not in str(error)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_methods_that_do_not_apply(server, method):
    answer = send(server, head(server, method))
    refused(answer, 405, "method")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/healthz", "/v2", "/metrics", "/v2/models/reviews", "/v2/health/ready"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_that_reads_takes_another_method(server, method, path):
    answer = send(server, request(server, b"{}", method=method, path=path))
    refused(answer, 405, "method")
    assert answer.headers["allow"] == "GET"


def test_head_gets_a_status_and_no_body(server):
    with connect(server) as connection:
        connection.sendall(head(server, "HEAD", "/healthz", Connection="close"))
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    assert content.startswith(b"HTTP/1.1 405 ")
    assert content.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "flood",
    [
        b"GET /healthz HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 17_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 17_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X" * 2_000_000,
        b"GET /healthz HTTP/1.1\r\nX: " + b"y" * 2_000_000,
        b"\r\n" * 1_000_000,
    ],
    ids=["many headers", "long header", "long path", "endless name", "endless value", "endless blank lines"],
)
def test_floods_in_the_head(server, flood):
    refused(send(server, flood), 431, "head_too_large")


@pytest.mark.parametrize(
    "junk",
    [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"SSH-2.0-OpenSSH_9.6\r\n", b"\x00" * 200, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"* 1 LIST\r\n",
     b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
     b"GET / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
     b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
     b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"],
)  # fmt: skip
def test_what_is_not_http(server, junk):
    refused(send(server, junk), 400, "malformed")


def test_a_slow_head_is_cut_off_though_bytes_keep_coming(server):
    begun = time.monotonic()
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        connection.settimeout(0.05)
        content = b""
        while not content and time.monotonic() - begun < 10:
            try:
                connection.sendall(b"X: y\r\n")
                content = connection.recv(65536)
            except TimeoutError:
                pass
    assert content.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"timeout"' in content


def test_a_silent_connection_is_told_and_closed(server):
    with connect(server) as connection:
        refused(receive(connection), 408, "timeout")


def test_a_second_slow_head_on_a_kept_connection_is_cut_off_too(server):
    with connect(server) as connection:
        connection.sendall(request(server, BODY))
        assert receive(connection).status == 200
        connection.sendall(b"GET /healthz HT")
        refused(receive(connection), 408, "timeout")


def test_more_connections_than_allowed_are_told_so(server):
    held = [connect(server) for _ in range(40)]
    try:
        time.sleep(0.1)
        answer = send(server, b"")
        refused(answer, 503, "connections")
        assert answer.headers["retry-after"] == "1"
    finally:
        for connection in held:
            connection.close()
    time.sleep(0.1)


def test_a_pipeline_is_answered_in_order_and_a_flood_of_it_is_not(server):
    with connect(server) as connection:
        connection.sendall(head(server, "GET", "/healthz") * 3 + head(server, "GET", "/v2", Connection="close"))
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    assert content.count(b'{"live":true}') == 3
    assert content.endswith(b'["binary_tensor_data"]}')
    with connect(server) as connection:
        connection.sendall(request(server, BODY) * 500)
        connection.settimeout(20)
        content = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b'"code":"malformed"' in content
    assert content.count(b"HTTP/1.1") < 30


def test_an_upgrade_is_answered_as_the_plain_request_it_is(server):
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    answer = send(server, head(server, "GET", "/nothing", **upgrade))
    refused(answer, 404, "unknown")


def test_headers_that_end_lines_early_do_not_reach_the_answer(server):
    answer = send(server, request(server, BODY, path="/v1/models/a%0d%0aSet-Cookie:%20x/predict"))
    refused(answer, 404, "unknown")
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
def test_health_needs_no_token_but_its_own_host(server, path):
    assert send(server, head(server, "GET", path, token=None)).status == 200
    refused(send(server, head(server, "GET", path, token=None, host="evil.example")), 403, "host")


def test_refusals_are_counted_by_reason_and_never_by_what_was_sent(server):
    send(server, request(server, BODY, path="/v1/models/unheard-of/predict"))
    send(server, b"\r\n" * 100_000)
    page = send(server, head(server, "GET", "/metrics")).content.decode()
    assert 'lineshaft_refused_total{reason="unknown"}' in page
    assert 'lineshaft_refused_total{reason="head_too_large"}' in page
    assert "unheard-of" not in page
