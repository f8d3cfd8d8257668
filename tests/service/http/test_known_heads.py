"""Known heads: what the parser has read twice is found again, with the values that differ, and nothing else is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.known_heads import FoundHead, KnownHeads
from service.http.predict_endpoint import HttpPrediction
from service.http.request_head import joined_fields

BODY = b"0123456789"
LINES = (b"Host: x", b"Content-Type: application/json", b"Content-Length: 10")


def head_of(*lines: bytes) -> bytes:
    return b"POST /predict HTTP/1.1\r\n" + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def read_by_parser(head: bytes, body: bytes = BODY, **changes: Any) -> HttpPrediction:
    """Makes the request that the parser makes of a head and a body."""
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:-2])
    headers = [(name.lower(), value.strip()) for name, _, value in pairs]
    exchange = SimpleNamespace(
        headers=headers,
        fields=joined_fields(headers),
        keep_alive=True,
        body=body,
        query=b"",
        parameters={},
        max_body_bytes=1 << 20,
    )
    vars(exchange).update(changes)
    wire = SimpleNamespace(in_steps_from=8192)
    endpoint = SimpleNamespace(cors=None)
    made = SimpleNamespace(exchange=exchange, endpoint=endpoint, format=wire, named=None, seconds=30.0)
    return cast(HttpPrediction, made)


def learned(*lines: bytes, times: int = 2, **changes: Any) -> KnownHeads:
    """Returns the heads after a request has come several times."""
    heads, head = KnownHeads(), head_of(*lines)
    for _ in range(times):
        heads.learn(head + BODY, read_by_parser(head, **changes))
    return heads


def found(heads: KnownHeads, *lines: bytes) -> FoundHead | None:
    return heads.find(head_of(*lines))


def test_a_head_is_known_from_the_second_time_on() -> None:
    assert found(learned(*LINES, times=1), *LINES) is None
    heads = learned(*LINES)
    first = found(heads, *LINES)
    assert first is not None
    assert first.length == 10
    assert found(heads, *LINES) is first, "kept as it is, for the next time"
    assert first.head.fields == {b"host": b"x", b"content-type": b"application/json"}


def test_length_and_request_id_may_differ() -> None:
    heads = learned(*LINES, b"X-Request-ID: a-1")
    other = found(heads, b"Host: x", b"Content-Type: application/json", b"Content-Length: 7", b"X-Request-ID: b 2")
    assert other is not None
    assert (other.length, other.values[b"x-request-id"]) == (7, b"b 2")
    assert other.head.fields == {b"host": b"x", b"content-type": b"application/json"}, "nothing of another's request"


@pytest.mark.parametrize(
    "line",
    [
        b"X-Request-ID:  two blanks",
        b"X-Request-ID: \xff",
        b"X-Request-ID: a\tb",
        b"X-Request-ID: ",
        b"X-Request-ID : a",
        b"X-Request-I: a",
        b"X-Request-ID: a\r\nHost: y",
        b"X-Request-ID: a\nHost: y",
        b"X-Request-ID: a\r\n",
    ],
)
def test_another_form_of_a_line_is_another_head(line: bytes) -> None:
    assert found(learned(*LINES, b"X-Request-ID: a"), *LINES, line) is None


@pytest.mark.parametrize(
    "length", [b"010", b"+10", b"0", b"1_0", b"1e1", b"10, 10", b"8192", b"9999999999", b"\xd9\xa1"]
)
def test_a_length_that_is_not_plain_or_not_small_is_left_to_the_parser(length: bytes) -> None:
    lines = (*LINES[:2], b"Content-Length: " + length)
    assert found(learned(*LINES), *lines) is None


@pytest.mark.parametrize(
    "line",
    [
        b"Expect: 100-continue",
        b"Transfer-Encoding: chunked",
        b"Upgrade: h2c",
        b"Content-Encoding: gzip",
        b"Connection: close",
        b"Connection: keep-alive, upgrade",
        b"TE: trailers",
        b"X-Axon-First-Row: 10000",
        b"Content-Length: 10",
        b"Host: y",
    ],
)
def test_a_request_that_needs_more_is_never_known(line: bytes) -> None:
    assert found(learned(*LINES, line), *LINES, line) is None


@pytest.mark.parametrize("changes", [{"keep_alive": False}, {"body": BODY[:-1]}, {"body": BODY + b"x"}])
def test_a_request_that_is_not_whole_or_closes_is_never_known(changes: dict[str, Any]) -> None:
    assert found(learned(*LINES, **changes), *LINES) is None


def test_no_secret_is_kept() -> None:
    lines = (*LINES, b"Authorization: Bearer axon_secret", b"X-API-Key: axon_other", b"Cookie: session=axon_third; a=b")
    heads = learned(*lines)
    known = found(heads, *lines)
    assert known is not None
    assert known.values[b"authorization"] == b"Bearer axon_secret"
    assert known.values[b"x-api-key"] == b"axon_other"
    assert known is not found(heads, *lines), "a head with a secret is not kept as it is"
    kept = repr((heads.exact, [*heads._shapes], [(head.headers, head.fields) for head in heads._shapes.values()]))
    assert "axon_" not in kept


def test_the_number_of_heads_is_bounded() -> None:
    heads = KnownHeads()
    for number in range(3_000):
        lines = (*LINES, b"User-Agent: %d" % number)
        for _ in range(2):
            heads.learn(head_of(*lines) + BODY, read_by_parser(head_of(*lines)))
        assert found(heads, *lines) is not None
    for length in range(1, 3_000):
        found(heads, *LINES[:2], b"Content-Length: %d" % length, b"User-Agent: 2999")
    assert max(len(heads.exact), len(heads._shapes), len(heads._seen)) <= 512


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b":", b" ", b"a", b"Host", b"Content-Length: 1", b"x-request-id: b"])))
def test_what_is_found_reads_as_the_lines_say(parts: list[bytes]) -> None:
    heads = learned(*LINES, b"X-Request-ID: a")
    head = b"POST /predict HTTP/1.1\r\n" + b"".join(parts) + b"\r\n\r\n"
    known = heads.find(head)
    if known is not None:
        lines = [line.partition(b":") for line in head.split(b"\r\n")[1:-2]]
        fields = {name.lower(): value.strip() for name, _, value in lines}
        assert fields[b"content-length"] == b"%d" % known.length
