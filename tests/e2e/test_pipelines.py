"""Several requests on one connection, valid and invalid: every answer belongs to its request, in order."""

from __future__ import annotations

import re
import socket

from serving import Server, http_post

BODY = b'{"model":"colours","instances":[[0.1,0.2,0.3,0.4]]}'
GOOD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PROBE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def statuses(server: Server, sent: bytes) -> list[int]:
    """Returns the statuses of all answers until the server closes the connection."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as stream:
        stream.sendall(sent)
        while data := stream.recv(1 << 16):
            received += data
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def test_what_is_no_request_is_refused_after_the_answers_to_the_requests_before_it(server: Server) -> None:
    for requests in ([GOOD], [GOOD] * 3, [PROBE, GOOD], [GOOD, PROBE], [PROBE] * 3):
        assert statuses(server, b"".join(requests) + b"\xff\r\n\r\n") == [200] * len(requests) + [400]
        assert statuses(server, b"".join(requests) + CHUNKED + b"no size\r\n") == [200] * len(requests) + [400]


def test_it_harms_nobody_else(server: Server) -> None:
    logged = len(server.log())
    for _ in range(20):
        statuses(server, GOOD * 2 + b"\xff\r\n\r\n")
    assert http_post(f"{server.url}/predict", content=BODY).status_code == 200
    assert '"level": "error"' not in server.log()[logged:]


def test_a_deadline_that_has_passed_on_arrival_is_told_as_that(server: Server) -> None:
    for _ in range(50):  # repeated, since sometimes the worker is the first to notice
        answer = http_post(f"{server.url}/predict", content=BODY, headers={"X-Request-Timeout-Seconds": "1e-9"})
        assert answer.status_code == 504, answer.text
