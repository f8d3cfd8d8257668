"""Any body and any headers get a documented answer, which is correct if 200, and the connection keeps working."""

from __future__ import annotations

import http.client
import json
import math
from contextlib import closing
from typing import Any

import numpy as np
import orjson
import pytest
from fuzzed_models import DEFAULT_MODEL, FUZZ_SECONDS, MODELS, document
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import Oracle, Server

from models.columns.schema import CategoricalColumn, ClassTarget, NumericTarget
from service.errors import RequestError
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_slices import RequestShape, RowTooWide, SlicedRequest

pytestmark = pytest.mark.faults
PATIENCE_SECONDS = 10
KNOWN_GOOD = b'{"model":"colours","instances":[[0.1,0.2,0.3,0.4]]}'
ORACLES = {name: Oracle(checkpoint) for name, checkpoint in MODELS.items()}

fuzzing = settings(
    max_examples=20 * FUZZ_SECONDS,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)


class Asker:
    """A client that sends each request on a new connection and checks every answer."""

    def __init__(self, server: Server) -> None:
        self._statuses = {int(status) for status in document(server)["paths"]["/predict"]["post"]["responses"]}
        self._port = server.port
        with self._connected() as connection:
            status, _, self._good = exchange(connection, KNOWN_GOOD, {})
        assert status == 200

    def ask(self, body: bytes, headers: dict[str, str] | None = None, cuts: int = 0) -> int:
        """Returns the status of a request's answer, and checks that the connection still works."""
        headers = headers or {}
        with self._connected() as connection:
            status, fields, answer = exchange(connection, body, headers, cuts)
            assert status in self._statuses, answer
            if status == 200:
                check_prediction(answer, body)
            else:
                self._check_problem(status, fields, answer, body)
            id_ = headers.get("X-Request-ID", "")
            if 0 < len(id_) <= 128 and id_.isascii() and id_.isprintable() and id_ == id_.strip():
                assert fields["x-request-id"] == id_
            again, _, good = exchange(connection, KNOWN_GOOD, {})
            assert (again, good) == (200, self._good)
        return status

    def _connected(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS))

    def _check_problem(self, status: int, fields: http.client.HTTPMessage, answer: bytes, body: bytes) -> None:
        assert fields["content-type"] == "application/problem+json"
        problem = json.loads(answer)
        assert problem["status"] == status
        assert problem["type"].startswith("urn:axon:problem:")
        assert problem["title"]
        assert problem["detail"]
        assert problem["request_id"] == fields["x-request-id"]
        for fault in problem.get("errors", []):
            assert set(fault) in ({"row", "column", "message"}, {"location", "message"})
        assert status != 504, "no deadline was set that could have passed"
        if status >= 500:  # a row so extreme that torch has no finite answer either
            assert problem["type"] == "urn:axon:problem:model-fault", answer
            assert not np.isfinite(expected_answers(json.loads(body))).all()


def exchange(
    connection: http.client.HTTPConnection, body: bytes, headers: dict[str, str], cuts: int = 0
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Returns status, headers and body of the answer to one request, with the body in chunks if `cuts` is not 0."""
    size = max(1, len(body) // (cuts + 1))
    content = (body[at : at + size] for at in range(0, len(body), size)) if cuts else body
    connection.request("POST", "/predict", content, headers, encode_chunked=bool(cuts))
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


def expected_answers(request: Any) -> list[list[float]]:
    """Returns torch's answers to the rows of a JSON request."""
    name = (request.get("model") or DEFAULT_MODEL).partition("@")[0]
    return [ORACLES[name](row) for row in request["instances"]]


def check_prediction(answer: bytes, body: bytes) -> None:
    """Compares an answer with torch's answer to the request, as parsed by Python's JSON parser."""
    found = json.loads(answer, parse_constant=pytest.fail)
    expected = expected_answers(json.loads(body, parse_constant=pytest.fail))
    target = MODELS[found["model"]].schema.target
    scale = target.std if isinstance(target, NumericTarget) else 1.0
    values = found.get("probabilities") or [[value] for value in found["predictions"]]
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4 * scale)
    if isinstance(target, ClassTarget):
        assert found["predictions"] == [target.labels[int(np.argmax(row))] for row in values]


@pytest.fixture(scope="module")
def asker(fuzzed: Server) -> Asker:
    return Asker(fuzzed)


def cells(column: Any) -> st.SearchStrategy[Any]:
    """Generates cells that a column accepts."""
    if isinstance(column, CategoricalColumn):
        return st.sampled_from(column.categories)
    spread = 6 * column.std
    return st.floats(column.mean - spread, column.mean + spread) | st.integers(
        math.ceil(column.mean - spread), math.floor(column.mean + spread)
    )


@st.composite
def good_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Generates a request that has to be answered: lists and objects, one row or hundreds."""
    name = draw(st.sampled_from(sorted(MODELS)))
    columns = MODELS[name].schema.columns
    row = st.tuples(*map(cells, columns)).map(list)
    if draw(st.booleans()):
        named = row.map(lambda row: {column.name: cell for column, cell in zip(columns, row, strict=True)})
        row = row | named.flatmap(lambda row: st.permutations(list(row.items())).map(dict))
    rows = draw(st.lists(row, min_size=1, max_size=20))
    rows *= draw(st.sampled_from([1, 1, 1, 25]))  # too large to be read in one step
    model = name + draw(st.sampled_from(["", "@1", "@latest"]))
    request = {"model": model, "instances": rows[:500]}
    return request if draw(st.booleans()) else dict(reversed(request.items()))


def as_json(value: Any) -> bytes:
    """Returns the value as Python's JSON, with NaN, Infinity and lone surrogates, which are not valid JSON."""
    return json.dumps(value).encode()


numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 3.5e38, 5e-324, -0.0, 1.7e308])
)
texts = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8) | st.sampled_from(
    ["red", "Rome", "null", "", "\x00", "NaN", "colours", "colours@", "@", "../x", "a" * 300, "é" * 128]
)
names = st.sampled_from(["model", "instances", "x0", "x1", "x2", "x3", "age", "city", "area", "rooms", "0", "inputs"])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(names | texts, inner, max_size=5),
    max_leaves=20,
)
near_requests = st.fixed_dictionaries(
    {
        "instances": st.lists(st.lists(values, max_size=5) | st.dictionaries(names, values, max_size=5), max_size=4)
        | values
    },
    optional={"model": st.sampled_from([*MODELS, None]) | values, "parameters": values},
)


@st.composite
def spoiled_requests(draw: st.DrawFn) -> dict[str, Any]:
    """Generates a valid request with a few cells that may be invalid."""
    request = draw(good_requests())
    instances = request["instances"] = [row.copy() for row in request["instances"]]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.sampled_from(instances))
        if isinstance(row, dict):
            row[draw(st.sampled_from([*row, "other"]))] = draw(numbers | values)
        elif draw(st.integers(0, 9)):
            row[draw(st.integers(0, len(row) - 1))] = draw(numbers | values)
        else:
            row.append(draw(values))
    return request


TOKENS = [
    b"1e400", b"-1e400", b"1e-400", b"NaN", b"Infinity", b"-", b"01", b"1.", b".5", b"+1", b"1E+", b"0x10", b'"', b"\\",
    b'"\\ud800"', b'"\\udc00\\ud800"', b"\\u0000", b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00",
    b"[", b"]", b"{", b"}", b",", b":", b"null", b"true", b"[" * 2000, b'{"a":' * 1100, b"[]" * 50, b"9" * 400,
    b'"model":"price",', b'"instances":[[1,2]],', b'"instances":', b"/**/", b"'", b"\r\n", b" " * 5000,
]  # fmt: skip


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """Generates a valid request's bytes with a few damaged places."""
    body = bytearray(as_json(draw(good_requests())))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        end = min(len(body), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["token", "replace", "delete", "repeat", "cut", "flip"])):
            case "token":
                body[at:at] = draw(st.sampled_from(TOKENS))
            case "replace":
                body[at:end] = draw(st.sampled_from(TOKENS))
            case "delete":
                del body[at:end]
            case "repeat":
                body[at:at] = body[at:end] * draw(st.integers(1, 50))
            case "cut":
                del body[at:]
            case _ if at < len(body):
                body[at] ^= 1 << draw(st.integers(0, 7))
    return bytes(body)


MEDIA_TYPES = ["application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", "é"]
TIMEOUTS = [
    "30",
    " 30 ",
    "1e1",
    "1_0",
    "1e9",
    "0",
    "-1",
    "nan",
    "inf",
    "1e400",
    "",
    "soon",
    "0x1p4",
    "30,30",
    "3" * 5000,
]
latin = st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"])  # a header's characters
headers = st.fixed_dictionaries(
    {},
    optional={
        "Content-Type": st.sampled_from(MEDIA_TYPES),
        "Content-Encoding": st.sampled_from(["identity", "gzip", "br"]),
        "Accept": st.sampled_from(["text/html", "application/xml;q=0.1", "", "*/*;q=0"]),
        "Expect": st.just("100-continue"),
        "X-Request-ID": st.text(latin, max_size=200),
        "X-Request-Timeout-Seconds": st.sampled_from(TIMEOUTS),
    },
)


@fuzzing
@given(request=good_requests(), cuts=st.integers(0, 3))
def test_what_fits_a_model_is_answered_as_torch_answers_it(asker: Asker, request: dict[str, Any], cuts: int) -> None:
    assert asker.ask(as_json(request), cuts=cuts) == 200


@fuzzing
@given(body=near_requests.map(as_json) | values.map(as_json) | st.binary(max_size=200), cuts=st.integers(0, 3))
def test_any_json_and_any_bytes_get_a_documented_answer(asker: Asker, body: bytes, cuts: int) -> None:
    asker.ask(body, cuts=cuts)


@fuzzing
@given(request=spoiled_requests(), cuts=st.integers(0, 3))
def test_a_good_request_with_other_cells_is_refused_or_right(asker: Asker, request: dict[str, Any], cuts: int) -> None:
    asker.ask(as_json(request), cuts=cuts)


@fuzzing
@given(body=broken(), cuts=st.integers(0, 3))
def test_a_good_request_that_was_damaged_is_refused_or_still_right(asker: Asker, body: bytes, cuts: int) -> None:
    asker.ask(body, cuts=cuts)


@fuzzing
@given(request=good_requests() | near_requests, headers=headers)
def test_any_headers_get_a_documented_answer(asker: Asker, request: dict[str, Any], headers: dict[str, str]) -> None:
    asker.ask(as_json(request), headers)


plain = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
pairs = st.lists(plain, min_size=2, max_size=2)
odd_pairs = st.lists(plain | values, min_size=2, max_size=2) | st.dictionaries(names, plain, min_size=2, max_size=2)
bulk_requests = st.fixed_dictionaries(
    {"instances": st.lists(pairs, max_size=4) | st.lists(pairs | odd_pairs, max_size=4)},
    optional={"model": st.sampled_from([*MODELS, None, "[", "]", "é"]) | values},
)


@fuzzing
@given(body=broken() | bulk_requests.map(as_json) | near_requests.map(as_json))
def test_what_is_read_in_slices_reads_the_same_in_python(body: bytes) -> None:
    request = SlicedRequest(body, most_cells=100, numbers=NumberReader())
    slices: list[Any] = []
    try:
        slices += [some for some in request.slices() if some is not None]
    except (RequestError, RequestShape, RowTooWide):
        return
    expected = orjson.loads(body)
    assert request.model == expected.get("model")
    rest = expected["instances"]
    for some in slices:
        taken, rest = rest[: len(some)], rest[len(some) :]
        if isinstance(some, np.ndarray):  # numbers for columns of numbers, so a whole number becomes the nearest float
            np.testing.assert_array_equal(some, np.array(taken, dtype=np.float64))
        else:
            assert some == taken
    assert rest == []
