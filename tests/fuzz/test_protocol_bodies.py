"""Any body for another protocol gets an answer in the form of the protocol: 200, or a 4xx with a reason."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import Any

import pytest
from fuzzed_models import FUZZ_SECONDS, MODELS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from serving import Server
from test_request_bodies import TOKENS, cells, names, near_requests, values

pytestmark = pytest.mark.faults
PATIENCE_SECONDS = 10

fuzzing = settings(
    max_examples=20 * FUZZ_SECONDS,
    deadline=None,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
PATHS = ["/invocations", "/invocations?model={m}"] + [
    f"/v1/models/{{m}}{end}:{method}" for end in ("", "/versions/0") for method in ("predict", "classify", "regress")
]
KEYS = [
    "instances",
    "inputs",
    "examples",
    "context",
    "signature_name",
    "dataframe_split",
    "dataframe_records",
    "params",
]


class Asker:
    """A client that sends each request on a kept connection, and checks the form of every answer."""

    def __init__(self, server: Server) -> None:
        self._port = server.port

    def ask(self, path: str, body: bytes, content_type: str | None = None, cuts: int = 0) -> int:
        """Returns the status of the answer."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        size = max(1, len(body) // (cuts + 1))
        content = (body[at : at + size] for at in range(0, len(body), size)) if cuts else body
        with closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)) as connection:
            connection.request("POST", path, content, headers, encode_chunked=bool(cuts))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.headers["content-type"] == "application/json"
            document = json.loads(text, parse_constant=pytest.fail)
            if answer.status == 200:
                assert {"predictions", "outputs", "results"} & document.keys()
            else:
                assert 400 <= answer.status < 500 or "not finite" in text.decode(), (answer.status, text, body)
                keys = ["error_code", "message"] if path.startswith("/invocations") else ["error"]
                assert list(document) == keys
                assert all(document.values())
            connection.request("GET", "/health/live")
            assert connection.getresponse().status == 200, "the connection still works"
        return answer.status


@pytest.fixture(scope="module")
def asker(fuzzed: Server) -> Asker:
    return Asker(fuzzed)


@st.composite
def good_requests(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Generates a path and a body that has to be answered, in every form of the protocols."""
    name = draw(st.sampled_from(sorted(MODELS)))
    checkpoint = MODELS[name]
    columns = checkpoint.schema.columns
    rows = draw(st.lists(st.tuples(*map(cells, columns)).map(list), min_size=1, max_size=20))
    rows = (rows * draw(st.sampled_from([1, 1, 1, 25])))[:500]  # some are too large to be read in one step
    by_name = [dict(zip(checkpoint.schema.names, row, strict=True)) for row in rows]
    by_column = {column.name: [row[at] for row in rows] for at, column in enumerate(columns)}
    nested = {column: [[cell] for cell in column_cells] for column, column_cells in by_column.items()}
    method = "classify" if checkpoint.config.task == "classification" else "regress"
    frame = {"columns": [*by_column, "more"], "data": [[*row, None] for row in rows]}
    tensors = [{"instances": rows}, {"instances": by_name}, {"inputs": rows}, {"inputs": by_column}, {"inputs": nested}]
    forms = [(f"/v1/models/{name}:predict", document) for document in tensors]
    forms.append((f"/v1/models/{name}:{method}", {"examples": by_name}))
    frames = [{"dataframe_split": frame}, {"dataframe_records": by_name}]
    forms += [(f"/invocations?model={name}", document) for document in [*tensors, *frames]]
    return draw(st.sampled_from(forms))


keys = st.sampled_from(KEYS)
tables = st.dictionaries(st.sampled_from(["columns", "data", "index", "b64"]) | names, st.lists(values, max_size=4))
near = near_requests | st.dictionaries(keys, values | tables | st.lists(tables | values, max_size=4), max_size=3)
paths = st.tuples(st.sampled_from(PATHS), st.sampled_from([*MODELS, "x", "@", "é%FF"])).map(
    lambda given: given[0].replace("{m}", given[1])
)


@fuzzing
@given(request=good_requests(), cuts=st.integers(0, 3))
def test_what_fits_a_model_is_answered(asker: Asker, request: tuple[str, dict[str, Any]], cuts: int) -> None:
    path, document = request
    assert asker.ask(path, json.dumps(document).encode(), cuts=cuts) == 200


@fuzzing
@given(
    path=paths,
    body=near.map(json.dumps).map(str.encode) | st.binary(max_size=200),
    content_type=st.sampled_from([None, None, None, "application/json", "text/csv", "text/plain"]),
    cuts=st.integers(0, 3),
)
def test_any_document_is_answered_or_refused(
    asker: Asker, path: str, body: bytes, content_type: str | None, cuts: int
) -> None:
    asker.ask(path.encode("ascii", "ignore").decode(), body, content_type, cuts)


@fuzzing
@given(request=good_requests(), data=st.data())
def test_a_damaged_request_is_answered_or_refused(
    asker: Asker, request: tuple[str, dict[str, Any]], data: st.DataObject
) -> None:
    path, document = request
    body = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        end = min(len(body), at + data.draw(st.integers(0, 12)))
        body[at:end] = data.draw(st.sampled_from([*TOKENS, b'{"b64":"eA=="}', b"NaN", b"[1]", b'"examples":', b""]))
    asker.ask(path, bytes(body))
