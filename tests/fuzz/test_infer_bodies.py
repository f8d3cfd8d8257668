"""Any inference request gets an answer of the protocol, which is torch's if 200, and the connection keeps working."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from fuzzed_models import FUZZ_SECONDS, MODELS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from infer_bodies import FORMATS, binary_tensor, element_bytes, read_answer, tensor, with_bytes
from serving import Oracle, Server

from models.columns.schema import CategoricalColumn, ClassTarget, NumericTarget

pytestmark = pytest.mark.faults
PATIENCE_SECONDS = 10
LENGTH = "Inference-Header-Content-Length"
GOOD = json.dumps({"inputs": [tensor("x", "FP32", [1, 4], [0.1, 0.2, 0.3, 0.4])]}).encode()
ORACLES = {name: Oracle(checkpoint) for name, checkpoint in MODELS.items()}
STATUSES = {200, 400, 404, 413, 415}

fuzzing = settings(
    max_examples=20 * FUZZ_SECONDS,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
Sent = tuple[str, bytes, int | None]  # name of the model, body, and length of the JSON part
Exchanged = tuple[int, dict[str, str], bytes]


class Inferrer:
    """A client that sends each request on a new connection and checks every answer."""

    def __init__(self, server: Server) -> None:
        self._port = server.port
        with self._connected() as connection:
            status, _, self._good = exchange(connection, "colours", GOOD, {})
        assert status == 200

    def infer(self, sent: Sent, headers: dict[str, str] | None = None) -> Exchanged:
        """Returns status, headers and body of an answer, and checks that the connection still works."""
        model, body, length = sent
        headers = (headers or {}) | ({} if length is None else {LENGTH: str(length)})
        with self._connected() as connection:
            status, fields, answer = exchange(connection, model, body, headers)
            assert status in STATUSES, answer
            if status == 200:
                read_answer(answer, fields)
            else:
                assert fields["content-type"] == "application/json"
                [(key, text)] = json.loads(answer).items()
                assert key == "error"
                assert text
                assert type(text) is str
            assert exchange(connection, "colours", GOOD, {})[::2] == (200, self._good)
        return status, fields, answer

    def _connected(self) -> closing[http.client.HTTPConnection]:
        return closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS))


def exchange(connection: http.client.HTTPConnection, model: str, body: bytes, headers: dict[str, str]) -> Exchanged:
    """Returns status, headers and body of the answer to one request."""
    connection.request("POST", f"/v2/models/{model}/infer", body, headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


@pytest.fixture(scope="module")
def inferrer(fuzzed: Server) -> Inferrer:
    return Inferrer(fuzzed)


def cells(column: Any) -> st.SearchStrategy[Any]:
    """Generates cells that a column accepts."""
    if isinstance(column, CategoricalColumn):
        return st.sampled_from(column.categories)
    least, most = column.mean - 6 * column.std, column.mean + 6 * column.std
    return st.floats(np.nextafter(np.float32(least), np.float32(0)), most, width=32)


@st.composite
def good_requests(draw: st.DrawFn) -> tuple[Sent, list[list[Any]], dict[str, Any]]:
    """Generates a request that has to be answered, its rows, and its JSON part."""
    name = draw(st.sampled_from(sorted(MODELS)))
    columns = MODELS[name].schema.columns
    rows = draw(st.lists(st.tuples(*map(cells, columns)).map(list), min_size=1, max_size=20))
    rows = (rows * draw(st.sampled_from([1, 1, 1, 25])))[:500]
    is_numeric = not any(isinstance(column, CategoricalColumn) for column in columns)
    inputs, parts = [], []
    if is_numeric and draw(st.booleans()):
        given = [("any", draw(st.sampled_from(["FP32", "FP64"])), [cell for row in rows for cell in row])]
        shape = [len(rows), len(columns)]
    else:
        shape = draw(st.sampled_from([[len(rows)], [len(rows), 1]]))
        order = draw(st.permutations(range(len(columns))))
        given = [
            (
                columns[at].name,
                "BYTES" if isinstance(columns[at], CategoricalColumn) else draw(st.sampled_from(["FP32", "FP64"])),
                [row[at] for row in rows],
            )
            for at in order
        ]
    for input_, datatype, flat in given:
        if draw(st.booleans()):
            parts.append(element_bytes(datatype, flat))
            inputs.append(binary_tensor(input_, datatype, shape, len(parts[-1])))
        else:
            width = shape[-1] if len(shape) == 2 else 1
            nested = [flat[at : at + width] for at in range(0, len(flat), width)]
            inputs.append(tensor(input_, datatype, shape, nested if draw(st.booleans()) else flat))
    document: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        document["id"] = draw(st.text(max_size=10))
    outputs = ["predictions", "probabilities"][: 1 + isinstance(MODELS[name].schema.target, ClassTarget)]
    if draw(st.booleans()):
        document["outputs"] = [
            {"name": output, "parameters": {"binary_data": draw(st.booleans())}}
            for output in draw(st.permutations(outputs))
        ]
    elif draw(st.booleans()):
        document["parameters"] = {"binary_data_output": draw(st.booleans())}
    body, length = with_bytes(dict(draw(st.permutations(list(document.items())))), *parts)
    return (name, body, length if parts or draw(st.booleans()) else None), rows, document


numbers = st.integers() | st.floats() | st.sampled_from([2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30, 1e308])
texts = st.text(st.characters() | st.characters(categories=["Cs"]), max_size=8) | st.sampled_from(
    ["predictions", "probabilities", "red", "Rome", "", "\x00", "x0", "age", "a" * 300, *FORMATS, "BYTES", "BF16"]
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)
sizes = st.integers(-2, 70) | st.sampled_from([2**31, 2**32, 2**63, 2**64])
parameters = st.dictionaries(
    st.sampled_from(
        ["binary_data_size", "binary_data", "binary_data_output", "classification", "timeout", "priority",
         "sequence_id", "shared_memory_region", "shared_memory_offset"]
    ) | texts,
    sizes | values, max_size=3,
)  # fmt: skip
near_inputs = st.fixed_dictionaries(
    {"name": st.sampled_from(["x", "x0", "x1", "age", "city", "area"]) | values, "datatype": texts | values},
    optional={
        "shape": st.lists(st.integers(0, 5) | sizes, max_size=3) | values,
        "data": st.lists(numbers | texts, max_size=8) | st.lists(st.lists(numbers, max_size=4), max_size=4) | values,
        "parameters": parameters | values,
    },
)
near_outputs = st.fixed_dictionaries({"name": texts | values}, optional={"parameters": parameters | values})
near_requests = st.fixed_dictionaries(
    {"inputs": st.lists(near_inputs | values, max_size=3) | values},
    optional={
        "id": texts | values,
        "outputs": st.lists(near_outputs | values, max_size=3) | values,
        "parameters": parameters | values,
        "more": values,
    },
)
models = st.sampled_from([*MODELS, "colours/versions/1", "nobody", "colours/versions/x", "%00", "a%2fb", "..%2f"])
TOKENS = [b"\xff" * 4, b"[", b"]", b'"', b",", b"null", b"1e400", bytes(9)]
lengths = st.none() | st.integers(0, 400)


@st.composite
def broken(draw: st.DrawFn) -> Sent:
    """Generates a good request's bytes with a few damaged places, and a length that may lie."""
    (name, body, length), _, _ = draw(good_requests())
    damaged = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(damaged)))
        end = min(len(damaged), at + draw(st.integers(0, 12)))
        match draw(st.sampled_from(["replace", "delete", "repeat", "cut", "flip"])):
            case "replace":
                damaged[at:end] = draw(st.sampled_from(TOKENS))
            case "delete":
                del damaged[at:end]
            case "repeat":
                damaged[at:at] = damaged[at:end] * draw(st.integers(1, 50))
            case "cut":
                del damaged[at:]
            case _ if at < len(damaged):
                damaged[at] ^= 1 << draw(st.integers(0, 7))
    if length is not None:
        length = max(0, length + draw(st.sampled_from([0] * 6 + [-1, 1, -length, 10**6])))
    return name, bytes(damaged), length


@fuzzing
@given(request=good_requests())
def test_what_fits_a_model_is_answered_as_torch_answers_it(
    inferrer: Inferrer, request: tuple[Sent, list[list[Any]], dict[str, Any]]
) -> None:
    sent, rows, document = request
    status, fields, body = inferrer.infer(sent)
    assert status == 200, body
    answer = read_answer(body, fields)
    assert answer.document.get("id") == document.get("id")
    target = MODELS[sent[0]].schema.target
    scale = target.std if isinstance(target, NumericTarget) else 1.0
    expected = [ORACLES[sent[0]](row) for row in rows]
    values = answer.outputs["probabilities" if isinstance(target, ClassTarget) else "predictions"].rows
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4 * scale)
    if isinstance(target, ClassTarget):
        found = answer.outputs["predictions"].values
        assert found == [target.labels[int(np.argmax(row))] for row in values]


@fuzzing
@given(model=models, request=near_requests | values, length=lengths, rest=st.binary(max_size=80))
def test_any_document_gets_an_answer_of_the_protocol(
    inferrer: Inferrer, model: str, request: Any, length: int | None, rest: bytes
) -> None:
    text = json.dumps(request).encode()
    inferrer.infer((model, text, None))
    inferrer.infer((model, text + rest, len(text)))
    inferrer.infer((model, text + rest, length))


@fuzzing
@given(sent=broken())
def test_a_good_request_that_was_damaged_is_refused_or_answered(inferrer: Inferrer, sent: Sent) -> None:
    inferrer.infer(sent)


HEADER_LENGTHS = ["", "-1", "1.0", "0x1", "1_0", "1,1", "9" * 40, "00", "0", "4", "e", "\xb2", "1\t"]


@fuzzing
@given(
    request=good_requests(),
    coding=st.sampled_from(["gzip", "deflate", "identity", "br", "gzip, gzip", ""]),
    packs=st.sampled_from([gzip.compress, zlib.compress, bytes]),
    cut=st.sampled_from([0, 0, 0, 1, 9]),
    length=st.none() | st.sampled_from(HEADER_LENGTHS),
    accepts=st.sampled_from(["identity", "identity;q=0", "*;q=0", ""]),
)
def test_any_coding_and_any_header_length_get_an_answer_of_the_protocol(
    inferrer: Inferrer,
    request: tuple[Sent, Any, Any],
    coding: str,
    packs: Any,
    cut: int,
    length: str | None,
    accepts: str,
) -> None:
    (model, body, given), _, _ = request
    packed = packs(body)
    headers = {"Content-Encoding": coding, "Accept-Encoding": accepts}
    if length is not None:
        headers[LENGTH], given = length, None
    inferrer.infer((model, packed[: len(packed) - cut], given), headers)


@pytest.mark.parametrize("packs", [gzip.compress, zlib.compress])
@pytest.mark.parametrize("length", ["0", "100", None])
def test_an_inflation_bomb_is_refused(inferrer: Inferrer, packs: Any, length: str | None) -> None:
    headers = {"Content-Encoding": "gzip" if packs is gzip.compress else "deflate"}
    if length is not None:
        headers[LENGTH] = length
    status, _, _ = inferrer.infer(("colours", packs(bytes(100_000_000)), None), headers)
    assert status == 413
