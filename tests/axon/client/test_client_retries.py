"""Retries, deadlines and errors of the client, against a server on a real socket that misbehaves in known ways."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
import time
from typing import Any

import numpy as np
import pytest
from answering_server import Last, Recorded, answering, problem, response

from axon.client import (
    AsyncClient,
    Client,
    ClientError,
    DeadlinePassed,
    Forbidden,
    ModelUnknown,
    NotReachable,
    Overloaded,
    RequestRefused,
    RowsRefused,
    ServerFailed,
    TooLarge,
    Unauthenticated,
)
from axon.client.problems import retry_after_of
from models.errors import AxonError, ConfigError, RowError

GOOD = response(200)


def ask(kind: str, url: str, rows: Any = ((1,),), **settings: Any) -> Any:
    """Asks for the prediction of rows, by a client of either kind."""
    if kind == "sync":
        with Client(url, **settings) as client:
            return client.predict(list(map(list, rows)), model="m")

    async def run() -> Any:
        async with AsyncClient(url, **settings) as client:
            return await client.predict(list(map(list, rows)), model="m")

    return asyncio.run(run())


both = pytest.mark.parametrize("kind", ["sync", "async"])


@both
@pytest.mark.parametrize(
    "first",
    [
        response(429, problem(429, "queue-full"), retry_after="0"),
        response(503, problem(503, "unavailable"), retry_after="0"),
        response(502, "<html>bad gateway</html>"),
        response(504, "<html>gateway time-out</html>"),
        None,
        Last(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        Last(b"HTTP/1.1 2"),
    ],
    ids=["429", "503", "502", "504 of a proxy", "closed", "cut off", "cut off in the head"],
)
def test_what_may_pass_is_tried_again(kind: str, first: bytes | None) -> None:
    with answering(lambda number, request: first if number < 2 else GOOD) as server:
        assert ask(kind, server.url).predictions == [1.5]
        assert len(server.requests) == 3
        assert len({request.headers["x-request-id"] for request in server.requests}) == 1
        assert {request.body for request in server.requests} == {b'{"model":"m","instances":[[1]]}'}


@both
@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (response(400, problem(400, "bad-request")), RequestRefused, "Something. (request r-1)"),
        (response(401, problem(401, "unauthenticated")), Unauthenticated, "Something."),
        (response(403, problem(403, "forbidden")), Forbidden, "Something."),
        (response(404, problem(404, "model-not-found")), ModelUnknown, "Something."),
        (response(404, problem(404, "not-found")), RequestRefused, "Something."),
        (response(413, problem(413, "too-large")), TooLarge, "Something."),
        (response(422, problem(422, "invalid-request")), RequestRefused, "Something."),
        (response(500, problem(500, "internal")), ServerFailed, "Something."),
        (response(504, problem(504, "deadline-exceeded")), DeadlinePassed, "Something."),
        (response(504, {"error": "the deadline passed"}), DeadlinePassed, "the deadline passed"),
        (response(302, "", location="/elsewhere"), ServerFailed, "302 Found"),
        (response(200, "<html>log in</html>"), ServerFailed, "not one of an Axon server"),
        (response(200, {"model": "m", "version": 1, "predictions": [1, 2]}), ServerFailed, "2 predictions for 1 rows"),
    ],
)
def test_what_does_not_pass_is_told_at_once(kind: str, answer: bytes, error: type[ClientError], said: str) -> None:
    with answering(lambda number, request: answer) as server:
        with pytest.raises(error) as told:
            ask(kind, server.url)
        assert said in str(told.value)
        assert told.value.request_id in ("r-1", server.requests[0].headers["x-request-id"])
        assert type(told.value) is error
        assert isinstance(told.value, AxonError)
        assert len(server.requests) == 1


@both
def test_rows_that_are_refused_are_told_as_a_loaded_model_tells_them(kind: str) -> None:
    errors = [{"row": 0, "column": "a", "message": "no"}, {"row": 0, "column": None, "message": "never"}]
    refusal = response(422, problem(422, "invalid-rows", errors=errors))
    with answering(lambda number, request: refusal) as server, pytest.raises(RowError) as told:
        ask(kind, server.url)
    assert isinstance(told.value, RowsRefused)
    assert [(fault.row, fault.column, fault.message) for fault in told.value.faults] == [
        (0, "a", "no"),
        (0, None, "never"),
    ]
    assert str(told.value) == "Row 0, column 'a': no (and 1 more) (request r-1)"


@both
def test_attempts_end_and_the_last_error_is_told(kind: str) -> None:
    busy = response(429, problem(429, "queue-full"), retry_after="0")
    with answering(lambda number, request: busy) as server:
        with pytest.raises(Overloaded) as told:
            ask(kind, server.url, retries=1)
        assert len(server.requests) == 2
        assert told.value.retry_after == 0
        with pytest.raises(Overloaded):
            ask(kind, server.url, retries=0)
        assert len(server.requests) == 3


@both
def test_a_pause_lasts_as_long_as_the_server_asks(kind: str) -> None:
    moments: list[float] = []

    def answer(number: int, request: Recorded) -> bytes:
        moments.append(time.monotonic())
        return response(503, problem(503, "unavailable"), retry_after="1") if number == 0 else GOOD

    with answering(answer) as server:
        ask(kind, server.url)
    assert moments[1] - moments[0] >= 1


@both
def test_no_attempt_is_made_past_the_deadline(kind: str) -> None:
    busy = response(429, problem(429, "queue-full"), retry_after="9")
    with answering(lambda number, request: busy) as server:
        begin = time.monotonic()
        with pytest.raises(Overloaded) as told:
            ask(kind, server.url, deadline=5.0)
        assert time.monotonic() - begin < 5
        assert len(server.requests) == 1
        assert told.value.retry_after == 9


@both
@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"])
def test_a_server_that_is_silent_is_left_at_the_deadline(kind: str, sent: bytes) -> None:
    over = threading.Event()

    def answer(number: int, request: Recorded) -> None:
        over.wait(30)

    def begin(number: int, request: Recorded) -> bytes:
        return sent

    with answering(begin if sent else answer) as server:
        try:
            with pytest.raises(DeadlinePassed, match=r"The deadline of 0.3 s passed. \(request \w+\)"):
                ask(kind, server.url, deadline=0.3)
        finally:
            over.set()
        assert len(server.requests) == 1
        assert 0 < float(server.requests[0].headers["x-request-timeout-seconds"]) <= 0.3


@both
def test_a_silent_server_is_left_after_the_timeout(kind: str) -> None:
    with answering(lambda number, request: b"HTTP/1.1 200 OK\r\n") as server:
        with pytest.raises(NotReachable, match="nothing came in time"):
            ask(kind, server.url, timeout=0.2)
        assert len(server.requests) == 1


@both
def test_the_time_left_goes_with_each_attempt(kind: str) -> None:
    busy = response(503, problem(503, "unavailable"))
    with answering(lambda number, request: busy if number < 2 else GOOD) as server:
        ask(kind, server.url, deadline=20.0)
        left = [float(request.headers["x-request-timeout-seconds"]) for request in server.requests]
    assert 20 >= left[0] > left[1] > left[2] > 0


@both
def test_a_server_that_is_not_there_is_told(kind: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(NotReachable, match=f"{url} cannot be reached: "):
            ask(kind, url, retries=1)
        with Client(url) as client:
            assert not client.ready()
            with pytest.raises(NotReachable):
                client.health()


@both
def test_a_server_without_the_binary_form_is_asked_in_json(kind: str) -> None:
    many = json.dumps({"model": "m", "version": 1, "predictions": [1.5] * 100}).encode()
    missing, rows = response(404, problem(404, "not-found")), [[0.5]] * 100

    def answer(number: int, request: Recorded) -> bytes:
        return missing if "/v2/" in request.line else response(200, many.decode())

    with answering(answer) as server:
        if kind == "sync":
            with Client(server.url) as client:
                answers = [client.predict(np.array(rows), model="m") for _ in range(2)]
        else:

            async def run() -> list[Any]:
                async with AsyncClient(server.url) as client:
                    return [await client.predict(np.array(rows), model="m") for _ in range(2)]

            answers = asyncio.run(run())
    assert [answer.predictions for answer in answers] == [[1.5] * 100] * 2
    assert [request.line.split()[1] for request in server.requests] == ["/v2/models/m/infer", "/predict", "/predict"]


@both
def test_rows_that_are_too_many_for_a_request_are_answered_by_one_version(kind: str) -> None:
    versions = itertools.count(1)

    def answer(number: int, request: Recorded) -> bytes:
        asked = json.loads(request.body)
        if len(asked["instances"]) > 2:
            return response(413, problem(413, "too-large"))
        # The name is split: each request by name alone has another version.
        _, _, pinned = asked["model"].partition("@")
        version = int(pinned) if pinned else next(versions)
        predictions = [10 * version + row for [row] in asked["instances"]]
        return response(200, json.dumps({"model": "m", "version": version, "predictions": predictions}))

    with answering(answer) as server:
        found = ask(kind, server.url, rows=[[row] for row in range(9)], rows_per_request=6)
        assert found.version == 1
        assert found.predictions == [10 + row for row in range(9)]
        sizes = [len(json.loads(request.body)["instances"]) for request in server.requests]
    assert sizes[:3] == [6, 3, 2]
    assert sum(sizes) < 3 * 9 + 6, "refused rows are not sent again and again"


@both
def test_each_request_of_a_call_says_at_which_row_it_begins(kind: str) -> None:
    def answer(number: int, request: Recorded) -> bytes:
        asked = json.loads(request.body)
        if len(asked["instances"]) > 2:
            return response(413, problem(413, "too-large"))
        return response(200, json.dumps({"model": "m", "version": 1, "predictions": [0.5] * len(asked["instances"])}))

    with answering(answer) as server:
        ask(kind, server.url, rows=[[row] for row in range(9)], rows_per_request=6)
        begins = [json.loads(request.body)["instances"][0][0] for request in server.requests]
        told = [request.headers.get("x-axon-first-row") for request in server.requests]
        ids = {request.headers["x-request-id"] for request in server.requests}
    assert told == [str(row) if row else None for row in begins]
    assert {0, 2, 4, 6, 8} <= set(begins)
    assert len(ids) == 1


@both
def test_connections_are_used_again(kind: str) -> None:
    with answering(lambda number, request: GOOD) as server:
        if kind == "sync":
            with Client(server.url) as client:
                for _ in range(20):
                    client.predict([[1]], model="m")
        else:

            async def run() -> None:
                async with AsyncClient(server.url) as client:
                    for _ in range(20):
                        await client.predict([[1]], model="m")

            asyncio.run(run())
        assert server.connections == 1


def test_headers_of_a_request() -> None:
    trace, headers = f"00-{'1' * 32}-{'2' * 16}-01", {"X-Team": "red", "Accept-Encoding": "gzip"}
    with (
        answering(lambda number, request: GOOD) as server,
        Client(f"{server.url}/axon/", "axon_key", headers=headers) as client,
    ):
        answer = client.predict([[1]], request_id="mine", traceparent=trace)
    (request,) = server.requests
    assert request.line == "POST /axon/predict HTTP/1.1"
    assert request.body == b'{"instances":[[1]]}'
    assert request.headers["authorization"] == "Bearer axon_key"
    assert request.headers["x-team"] == "red"
    assert request.headers["accept-encoding"] == "gzip"
    assert request.headers["x-request-id"] == answer.request_id == "mine"
    assert request.headers["traceparent"] == trace
    assert "x-request-timeout-seconds" not in request.headers
    assert "axon_key" not in repr(client) + repr(client._settings)


def test_the_current_span_of_opentelemetry_goes_along() -> None:
    trace = pytest.importorskip("opentelemetry.trace")
    context = trace.SpanContext(trace_id=0xAB, span_id=0xCD, is_remote=False, trace_flags=trace.TraceFlags(1))
    with answering(lambda number, request: GOOD) as server, Client(server.url) as client:
        with trace.use_span(trace.NonRecordingSpan(context)):
            client.predict([[1]])
        client.predict([[1]])
        assert server.requests[0].headers["traceparent"] == f"00-{0xAB:032x}-{0xCD:016x}-01"
        assert "traceparent" not in server.requests[1].headers


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after_of("7") == 7
    assert retry_after_of("Thu, 01 Jan 1970 00:02:00 GMT", now=90.0) == 30
    assert retry_after_of("Thu, 01 Jan 1970 00:00:00 GMT", now=90.0) == 0
    for value in (None, "", "-1", "soon", "1e999", "9" * 400):
        assert retry_after_of(value) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "localhost:8000"}, "url must be like http://localhost:8000, got 'localhost:8000'"),
        ({"url": "ftp://a"}, "url must be like"),
        ({"url": "http://a?b"}, "url must be like"),
        ({"timeout": 0}, "timeout must be above 0 seconds"),
        ({"deadline": float("nan")}, "deadline must be above 0 seconds"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"rows_per_request": 0}, "rows must be 1 or more"),
        ({"in_flight": 0}, "in_flight must be 1 or more"),
        ({"connections": 0}, "connections must be 1 or more"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Client(**{"url": "http://127.0.0.1:1", **settings})
