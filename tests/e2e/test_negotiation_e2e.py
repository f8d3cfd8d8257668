"""Content negotiation by request headers, with a real server, on the direct path and through ASGI."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import zlib
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from serving import Server, http_get, http_post, make_store, running, wait_until

ROW = [0.1, 0.2, 0.3, 0.4]
BODY = json.dumps({"model": "colours", "instances": [ROW]}).encode()
LARGE = json.dumps({"model": "colours", "instances": [ROW] * 500}).encode()
SECRET = "axon_e2e-negotiation"


def post(server: Server, body: bytes = BODY, *headers: tuple[str, str]) -> httpx.Response:
    return http_post(f"{server.url}/predict", content=body, headers=list(headers))


def raw(server: Server, request: bytes) -> tuple[dict[bytes, bytes], bytes]:
    """Sends a request that closes its connection; returns header fields and the body without decoding."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
        stream.sendall(request)
        received = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    fields = {name.lower(): value for name, value in (line.split(b": ", 1) for line in lines)}
    return {b":status": status.split()[1], **fields}, body


def ask(server: Server, path: str, *headers: str, body: bytes = b"") -> tuple[dict[bytes, bytes], bytes]:
    method = "POST" if body else "GET"
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return raw(server, "\r\n".join([*lines, "", ""]).encode() + body)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; profile=x",
        "application/vnd.api+json",
        "text/json",
        "application/x-www-form-urlencoded",  # what curl -d sends
        "",
    ],
)
def test_a_body_that_may_be_json_is_read(server: Server, content_type: str | None) -> None:
    headers = [] if content_type is None else [("Content-Type", content_type)]
    assert post(server, BODY, *headers).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "text/csv; charset=latin-1", "text/plain", "multipart/form-data; boundary=x", "image/png", "application/x-npy",
        "application/msgpack", "application/octet-stream", "application/xml", "application/jsonlines", "json", "*/*",
        "application/json; charset=utf-16", "application/json; charset=latin-1", "text/json;charset='utf-8'", "+json",
    ],
)  # fmt: skip
def test_a_body_that_is_not_json_by_its_type_is_415(server: Server, content_type: str) -> None:
    answer = post(server, BODY, ("Content-Type", content_type))
    assert answer.status_code == 415, answer.text
    assert answer.json()["type"] == "urn:axon:problem:unsupported-media-type"
    assert answer.headers["accept"] == "application/json, text/csv, application/vnd.apache.arrow.stream"
    assert post(server, BODY, ("Content-Type", content_type)).status_code == 415, "known by now"


def test_two_types_are_415_and_the_connection_goes_on(server: Server) -> None:
    assert post(server, BODY, *[("Content-Type", "application/json")] * 2).status_code == 415
    with httpx.Client(base_url=server.url, verify=False) as client:
        for _ in range(3):
            assert client.post("/predict", content=BODY, headers={"Content-Type": "text/xml"}).status_code == 415
            assert client.post("/predict", content=BODY).status_code == 200


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_are_read(server: Server, coding: str, pack: object) -> None:
    for body in (BODY, LARGE):
        expected = post(server, body)
        found = post(server, pack(body), ("Content-Encoding", coding))  # type: ignore[operator]
        assert (found.status_code, found.json()) == (200, expected.json())
    answer = post(server, pack(b"[" * 200_001), ("Content-Encoding", coding))  # type: ignore[operator]
    assert answer.status_code == 413
    assert post(server, b"hello", ("Content-Encoding", coding)).status_code == 422
    refused = post(server, b"hello", ("Content-Encoding", "br"))
    assert (refused.status_code, refused.headers["accept-encoding"]) == (415, "gzip, deflate")


def chunks(body: bytes) -> Iterator[bytes]:
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            return
        yield body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]


def decoded(fields: dict[bytes, bytes], body: bytes) -> bytes:
    if fields.get(b"transfer-encoding") == b"chunked":
        body = b"".join(chunks(body))
    else:
        assert int(fields[b"content-length"]) == len(body)
    match fields.get(b"content-encoding"):
        case b"gzip":
            return gzip.decompress(body)
        case b"deflate":
            return zlib.decompress(body)
        case other:
            assert other is None
            return body


PATHS = ["/predict", "/models/colours", "/openapi.json", "/docs/swagger-ui-bundle.js", "/metrics"]


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_compressed_when_asked_for(server: Server, path: str) -> None:
    body = LARGE if path == "/predict" else b""
    fields, plain = ask(server, path, body=body)
    assert (fields[b":status"], fields[b"vary"].lower()) == (b"200", b"accept-encoding")
    assert b"content-encoding" not in fields
    for wanted, coding in (
        ("gzip", b"gzip"),
        ("gzip, deflate, br", b"gzip"),
        ("deflate", b"deflate"),
        ("gzip;q=0.2, deflate;q=0.8", b"deflate"),
        ("*", b"gzip"),
        ("br\r\nAccept-Encoding: GZIP", b"gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", b"deflate"),
        ("identity, gzip;q=0.5", None),
        ("br, zstd", None),
        ("", None),
    ):
        fields, packed = ask(server, path, f"Accept-Encoding: {wanted}", body=body)
        assert fields.get(b"content-encoding") == coding, wanted
        assert fields[b"vary"].lower() == b"accept-encoding"
        text = decoded(fields, packed)
        if path != "/metrics":  # whose content changes
            assert text == plain
        if coding is not None:
            assert len(packed) < 0.5 * len(text), wanted


def test_small_answers_are_left_as_they_are_and_head_says_what_get_does(server: Server) -> None:
    for path, body in (("/predict", BODY), ("/health/live", b""), ("/nowhere", b"")):
        fields, _ = ask(server, path, "Accept-Encoding: gzip", body=body)
        assert b"content-encoding" not in fields
        assert fields[b"vary"].lower() == b"accept-encoding"
    fields, body = raw(
        server, b"HEAD /openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept-Encoding: gzip\r\n\r\n"
    )
    assert (fields[b"content-encoding"], body) == (b"gzip", b"")


def test_a_pipeline_of_large_answers_keeps_its_order(server: Server) -> None:
    one = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: %d\r\n%bContent-Length: %d\r\n\r\n%b"
    requests = b"".join(
        one % (i, b"Accept-Encoding: gzip\r\n" if i % 2 else b"", len(body), body)
        for i, body in enumerate([LARGE, LARGE, BODY, BODY, LARGE, LARGE, LARGE])
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
        stream.sendall(requests)
        stream.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: stream.recv(1 << 16), b""))
    ids = [int(part.split(b"\r\n", 1)[0]) for part in received.split(b"\r\nx-request-id: ")[1:]]
    assert ids == list(range(7))


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("locked")
    key = f"all:predict,read,manage:{sha256(SECRET.encode()).hexdigest()}"
    with running(make_store(folder).root, folder, api_keys=key, max_connections=8) as server:
        yield server


ROUTES = [("POST", "/predict"), ("GET", "/models"), ("GET", "/metrics"), ("POST", "/models/refresh"), ("GET", "/docs")]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_repeated_key_is_refused_everywhere_alike(locked: Server, method: str, path: str) -> None:
    good, bearer = ("X-API-Key", SECRET), ("Authorization", f"Bearer {SECRET}")
    content = BODY if path == "/predict" else b""

    def status(*headers: tuple[str, str]) -> tuple[int, str]:
        answer = httpx.request(method, locked.url + path, content=content, headers=list(headers), verify=False)
        return answer.status_code, answer.headers.get("www-authenticate", "")

    assert status(good)[0] == status(bearer)[0] == status(good, bearer)[0] == 200
    for headers in (
        [good, good], [good, ("x-api-key", "axon_other")], [("X-API-Key", "axon_other"), good], [bearer, bearer],
        [bearer, ("Authorization", "Basic YTpi")], [good, bearer, bearer], [good, good, bearer],
    ):  # fmt: skip
        assert status(*headers) == (400, 'Bearer realm="axon", error="invalid_request"'), headers


def test_a_repeated_request_id_or_deadline_is_none(server: Server) -> None:
    for path in ("/predict", "/nowhere"):
        fields, _ = ask(server, path, "X-Request-ID: a", "X-Request-ID: b", body=BODY)
        assert fields[b"x-request-id"] not in (b"a", b"b")
    answer = post(server, BODY, *[("X-Request-Timeout-Seconds", "1")] * 2)
    assert answer.status_code == 422


def test_probes_get_through_at_the_limit_and_refused_connections_are_counted(locked: Server) -> None:
    bearer = {"Authorization": f"Bearer {SECRET}"}

    def refused() -> float:
        text = http_get(f"{locked.url}/metrics", headers=bearer).text
        return float(text.split("\naxon_connections_refused_total ")[1].split("\n")[0])

    before = refused()
    held = [socket.create_connection(("127.0.0.1", locked.port), timeout=60) for _ in range(8)]
    try:
        for stream in held:
            stream.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")
        silent = [socket.create_connection(("127.0.0.1", locked.port), timeout=60) for _ in range(100)]
        held += silent
        for _ in range(5):
            for path in ("/health/live", "/health/ready", "/health/live?x=1", "/metrics", "/ping", "/v2/health/ready"):
                answer = http_get(locked.url + path, headers=bearer)
                assert answer.status_code == 200
                assert answer.headers["connection"] == "close"
            for path in ("/models", "/health/none"):
                answer = http_get(locked.url + path, headers=bearer)
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
            assert http_post(f"{locked.url}/predict", content=BODY, headers=bearer).status_code == 503
        for stream in silent:
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 503")
        assert refused() == before + 115
    finally:
        for stream in held:
            stream.close()
    wait_until(lambda: http_post(f"{locked.url}/predict", content=BODY, headers=bearer).status_code == 200)
    lines = [line for line in locked.log().splitlines() if "connection was refused" in line]
    assert len(lines) == 1, "one a minute at most"


def reset(stream: socket.socket) -> None:
    """Closes a connection with a reset, so that the server notices at once."""
    linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    stream.close()


def test_a_client_that_hung_up_is_499(tmp_path: Path) -> None:
    """Hangs up during the body, while the rows wait in the queue, and while a worker has the rows."""
    with running(make_store(tmp_path).root, tmp_path) as server:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY)
        for sent in (head, head + BODY[:-1]):
            stream = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            stream.sendall(sent)
            http_get(f"{server.url}/health/live")  # by then the server has read the request
            reset(stream)
        wait_until(lambda: counted(server)["", "499"] == 2, lambda: str(counted(server)))
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        try:
            streams = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(3)]
            for stream in streams:
                stream.sendall(head + BODY)
                wait_until(lambda: http_get(f"{server.url}/health/live").status_code == 200)
            reset(streams[0])
            reset(streams[1])
            streams[2].shutdown(socket.SHUT_WR)
            wait_until(lambda: http_get(f"{server.url}/health/live").status_code == 200)
        finally:
            os.kill(worker, signal.SIGCONT)
        assert b"HTTP/1.1 200 OK" in streams[2].recv(1 << 16)
        streams[2].close()
        wait_until(lambda: counted(server)["colours", "499"] == 2, lambda: str(counted(server)))
        assert counted(server)["colours", "200"] == 1
        assert not {status for _, status in counted(server)} & {"408", "500"}
        assert "request failed" not in server.log()


def counted(server: Server) -> Counter[tuple[str, str]]:
    """Returns the server's counts of requests, by model and status."""
    text = http_get(f"{server.url}/metrics").text
    found = re.findall(r'^axon_requests_total\{model="(.*?)",status="(.*?)",version=".*?"\} (\S+)$', text, re.MULTILINE)
    return Counter({(model, status): int(float(n)) for model, status, n in found})
