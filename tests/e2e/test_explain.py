"""`POST /models/{id}/explain` gives the Shapley values of the served network, beside predictions and within limits."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from ensembles import ensemble
from serving import (
    CLASSES,
    Oracle,
    Server,
    http_client,
    http_post,
    make_checkpoint,
    metric_sum,
    numeric,
    running,
    wait_until,
)

import axon
from axon.explanations import Explanations
from models.checkpoint import Checkpoint
from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, DateColumn, NumericColumn, NumericTarget, Schema, ValuesTarget
from models.errors import ConfigError, DataError
from models.explaining.background import centre
from models.network.config import MLPConfig
from models.store import Store

VALUE = NumericTarget(name="price", mean=1.7e9, std=90, minimum=1.6e9, maximum=1.8e9, origin=1.7e9)
NEAR = NumericTarget(name="price", mean=23.1, std=9, minimum=0, maximum=60)
PAIR = ValuesTarget(targets=(NEAR, NumericTarget(name="rent", mean=7, std=2, minimum=0, maximum=20)))
MIXED = (
    numeric("age", 40, 12),
    CategoricalColumn(name="town", categories=("Rome", "Oslo", "Lima"), unknown="ignore"),
    DateColumn(name="day", mean=19_000.0, std=400.0, minimum=18_000.0, maximum=20_000.0, parts=("month", "weekday")),
    CategoricalColumn(name="sex", categories=("f", "m"), encoding="sign"),
    NumericColumn(name="gap", mean=0.0, std=1.0, minimum=-3, maximum=3, missing="indicator"),
)
CHECKPOINTS: dict[str, Checkpoint] = {
    "mixed": make_checkpoint(Schema(columns=MIXED, target=CLASSES), 16, 16, activation="tanh"),
    "twelve": make_checkpoint(
        Schema(columns=tuple(numeric(f"x{i}") for i in range(12)), target=CLASSES), 16, activation="tanh"
    ),
    "thirty": make_checkpoint(
        Schema(columns=tuple(numeric(f"x{i}") for i in range(30)), target=CLASSES), 32, 32, activation="tanh"
    ),
    "far": make_checkpoint(Schema(columns=MIXED[:3], target=VALUE), 16, activation="gelu"),
    "near": make_checkpoint(Schema(columns=MIXED[:3], target=NEAR), 16, activation="gelu"),
    "pair": make_checkpoint(Schema(columns=MIXED[:3], target=PAIR), 16, activation="gelu"),
    "several": ensemble(Schema(columns=tuple(numeric(f"x{i}") for i in range(4)), target=CLASSES), 3, 16),
}
ROWS: dict[str, list[Any]] = {
    "mixed": [
        {"age": 51, "town": "Oslo", "day": "2023-11-05", "sex": "m", "gap": 1.5},
        [30.5, "Paris", "2021-02-28", "f", None],
    ],
    "far": [[20, "Lima", "2022-07-01"]],
    "several": [[1, 0, -1, 2.5]],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("explain")
    store = Store(folder / "store")
    for name, checkpoint in CHECKPOINTS.items():
        store.publish(name, checkpoint)
    with running(store.root, folder, access_log=True, max_request_rows=500) as found:
        yield found
        assert "Traceback" not in found.log(), found.log()


def explain(server: Server, model: str, rows: Any, **more: Any) -> httpx.Response:
    return http_post(f"{server.url}/models/{model}/explain", json={"instances": rows, **more}, timeout=60)


def explained(server: Server, model: str, rows: Any, **more: Any) -> dict[str, Any]:
    answer = explain(server, model, rows, **more)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


class Network:
    """The network of a checkpoint in this process, asked about one encoded row at a time."""

    def __init__(self, name: str) -> None:
        self.checkpoint = CHECKPOINTS[name]
        self._network = self.checkpoint.inference_network()
        self.encoder = RowEncoder(self.checkpoint.schema)
        self._memo: dict[bytes, Any] = {}

    def __call__(self, encoded: Any) -> Any:
        key = encoded.tobytes()
        if key not in self._memo:
            self._memo[key] = np.asarray(self._network.answer(encoded[None]))[0]
        return self._memo[key]


def by_definition(name: str, row: Any, background: Any, output: int) -> dict[str, float]:
    """Returns the Shapley value of each column by name, over all subsets."""
    network = Network(name)
    columns = network.checkpoint.schema.columns
    spans, at = [], 0
    for column in columns:
        spans.append(slice(at, at + column.width))
        at += column.width
    [encoded] = network.encoder.encode_matrix([row])

    def value(coalition: tuple[int, ...]) -> float:
        total = 0.0
        for other in background:
            mixed = other.copy()
            for player in coalition:
                mixed[spans[player]] = encoded[spans[player]]
            total += float(network(mixed)[output])
        return total / len(background)

    n, found = len(columns), {}
    for player in range(n):
        others = [other for other in range(n) if other != player]
        found[columns[player].name] = sum(
            factorial(size) * factorial(n - size - 1) / factorial(n)
            * (value(tuple(sorted((*subset, player)))) - value(subset))
            for size in range(n)
            for subset in combinations(others, size)
        )  # fmt: skip
    return found


def contributions(explanation: dict[str, Any]) -> dict[str, float]:
    return {reason["column"]: reason["contribution"] for reason in explanation["reasons"]}


@pytest.mark.parametrize("model", ["mixed", "far", "several"])
def test_reasons_are_the_shapley_values_by_definition(server: Server, model: str) -> None:
    document = explained(server, model, ROWS[model])
    schema = CHECKPOINTS[model].schema
    assert (document["model"], document["version"], document["background"]) == (model, 1, "centre")
    assert document["scale"] == ("value" if model == "far" else "probability")
    answer = http_post(f"{server.url}/predict", json={"model": model, "instances": ROWS[model]}).json()
    for row, explanation, predicted in zip(ROWS[model], document["explanations"], answer["predictions"], strict=True):
        place = 0 if model == "far" else CLASSES.labels.index(explanation["output"])
        expected = by_definition(model, row, [centre(schema)], place)
        found = contributions(explanation)
        scale = 90 if model == "far" else 1
        assert found == pytest.approx(expected, abs=2e-6 * scale)
        assert explanation["prediction"] == predicted
        assert explanation.get("output", predicted) == predicted
        assert sum(found.values()) == pytest.approx(explanation["value"] - explanation["base"], abs=1e-4)
        assert explanation["kind"] == "exact"
        sizes = [abs(reason["contribution"]) for reason in explanation["reasons"]]
        assert sizes == sorted(sizes, reverse=True)
        cells = dict(zip(schema.names, row, strict=True)) if isinstance(row, list) else row
        assert {reason["column"]: reason["cell"] for reason in explanation["reasons"]} == cells


@pytest.mark.parametrize("model", ["near", "pair", "far"])
def test_values_have_the_digits_of_predictions(server: Server, model: str) -> None:
    rows = [[age, "Lima", "2022-07-01"] for age in range(20, 40)]
    predicted = http_post(f"{server.url}/predict", json={"model": model, "instances": rows}).json()["predictions"]
    found = [explanation["prediction"] for explanation in explained(server, model, rows)["explanations"]]
    assert found == predicted


def test_unknown_categories_are_named_as_for_predictions(server: Server) -> None:
    answer = explain(server, "mixed", ROWS["mixed"])
    assert answer.headers["X-Axon-Unknown-Columns"] == "town=1"
    assert "X-Axon-Unknown-Columns" not in explain(server, "far", ROWS["far"]).headers


def test_the_background_and_the_output_can_be_chosen(server: Server) -> None:
    background = [[20, "Rome", "2020-01-01", "m", 0.0], [60, "Lima", "2024-06-01", "f", None]]
    encoded = RowEncoder(CHECKPOINTS["mixed"].schema).encode_matrix(background)
    row = ROWS["mixed"][0]
    document = explained(server, "mixed", [row], background=background, output="blue")
    [explanation] = document["explanations"]
    assert document["background"] == "request"
    assert explanation["output"] == "blue"
    assert contributions(explanation) == pytest.approx(by_definition("mixed", row, encoded, 2), abs=2e-6)
    logit = explained(server, "mixed", [row], background=background, output="blue", scale="logit")
    assert logit["scale"] == "logit"
    [explanation] = logit["explanations"]
    probability = Oracle(CHECKPOINTS["mixed"])(list(row.values()))[2]
    assert explanation["value"] == pytest.approx(math.log(probability / (1 - probability)), abs=1e-4)
    total = sum(contributions(explanation).values())
    assert total == pytest.approx(explanation["value"] - explanation["base"], abs=1e-4)


def test_twelve_columns_are_exact_and_thirty_sampled_with_errors_that_hold(server: Server) -> None:
    rng = np.random.default_rng(0)
    twelve = explained(server, "twelve", rng.normal(size=(3, 12)).tolist())
    for explanation in twelve["explanations"]:
        assert explanation["kind"] == "exact"
        total = sum(contributions(explanation).values())
        assert total == pytest.approx(explanation["value"] - explanation["base"], abs=1e-4)
        assert all("standard_error" not in reason for reason in explanation["reasons"])
    rows = rng.normal(size=(2, 30)).tolist()
    rough, fine = (explained(server, "thirty", rows, samples=samples) for samples in (128, 4000))
    assert explained(server, "thirty", rows[1:])["explanations"] == rough["explanations"][1:], "in any company"
    for few, many in zip(rough["explanations"], fine["explanations"], strict=True):
        assert few["kind"] == "sampled"
        total = sum(contributions(few).values())
        assert total == pytest.approx(few["value"] - few["base"], abs=1e-4)
        good = contributions(many)
        misses = [
            abs(reason["contribution"] - good[reason["column"]]) / reason["standard_error"] for reason in few["reasons"]
        ]
        assert max(misses) < 5
        assert np.mean(misses) < 1.5


def test_the_text_form_is_for_a_terminal(server: Server) -> None:
    answer = http_post(
        f"{server.url}/models/mixed/explain", json={"instances": ROWS["mixed"]}, headers={"Accept": "text/plain"}
    )
    assert answer.status_code == 200
    lines = answer.text.splitlines()
    assert lines[0] == "mixed@1, probability compared with the middle of the columns"
    assert lines[2].startswith("row 0: ")
    assert sum(line.startswith("  ") for line in lines) == 2 * len(MIXED)


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["detail"]


def test_what_cannot_be_explained_is_refused_with_the_remedy(server: Server) -> None:
    rows = ROWS["mixed"]
    status, detail = problem(explain(server, "mixed", [rows[0], [1, "Rome", "soon", "m", 0]]))
    assert (status, "Row 1, column 'day'" in detail) == (422, True), detail
    answer = explain(server, "mixed", rows[:1], background=[rows[0], [1, "Rome", "2020-01-01", "x", 0]])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "background.1.sex"
    for more, text in [
        ({"output": "pink"}, "no label of the model; its labels are 'red', 'green', 'blue'"),
        ({"scale": "odds"}, "scale"),
        ({"samples": 3}, "samples"),
        ({"odd": 1}, "odd"),
        ({"background": []}, "background"),
        ({"background": [rows[0]] * 101}, "background"),
    ]:
        status, detail = problem(explain(server, "mixed", rows, **more))
        assert (status, text in detail) == (422, True), (more, detail)
    assert problem(explain(server, "mixed", []))[0] == 422
    status, detail = problem(explain(server, "far", ROWS["far"], scale="logit"))
    assert (status, "is a regression: leave scale out" in detail) == (422, True)
    status, detail = problem(explain(server, "thirty", [[1.0] * 30], kind="exact"))
    assert (status, "leave kind out, or ask for 'sampled'" in detail) == (422, True)
    status, detail = problem(explain(server, "thirty", [[1.0] * 30] * 400))
    assert (status, "send fewer rows" in detail) == (413, True)
    status, detail = problem(explain(server, "mixed", rows * 251))
    assert (status, "more than 500 rows" in detail) == (413, True)
    assert problem(explain(server, "nobody", rows))[0] == 404
    large = http_post(f"{server.url}/models/mixed/explain", content=b" " * 300_000)
    assert large.status_code == 413
    assert problem(http_post(f"{server.url}/models/mixed/explain", content=b"{"))[0] == 422


def test_a_deadline_ends_an_explanation_and_its_rows(server: Server) -> None:
    body = {"instances": [[1.0] * 30] * 100}
    began = time.monotonic()
    answer = http_post(
        f"{server.url}/models/thirty/explain", json=body, headers={"X-Request-Timeout-Seconds": "0.05"}, timeout=60
    )
    assert answer.status_code == 504
    assert answer.json()["type"] == "urn:axon:problem:deadline-exceeded"
    assert time.monotonic() - began < 30
    assert explained(server, "thirty", [[1.0] * 30])["explanations"]


def test_predictions_are_answered_beside_explanations_and_not_counted_with_them(server: Server) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(16, 30)).astype(np.float32).tolist()
    oracle = Oracle(CHECKPOINTS["thirty"])
    expected = [oracle(row) for row in rows]
    before = {
        name: metric_sum(server, name)
        for name in ("axon_requests_total", "axon_explanation_requests_total", "axon_explained_rows_total")
    }
    stop = threading.Event()
    statuses: list[int] = []
    sums: list[float] = []

    def ask() -> None:
        with http_client(base_url=server.url, timeout=60) as client:
            while not stop.is_set():
                answer = client.post("/models/thirty/explain", json={"instances": rows[:4]})
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    for explanation in answer.json()["explanations"]:
                        total = sum(contributions(explanation).values())
                        sums.append(abs(total - explanation["value"] + explanation["base"]))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with http_client(base_url=server.url, timeout=60) as client:
            for _ in range(300):
                at = int(rng.integers(len(rows)))
                answer = client.post("/predict", json={"model": "thirty", "instances": [rows[at]]})
                assert answer.status_code == 200, answer.text
                np.testing.assert_allclose(answer.json()["probabilities"][0], expected[at], atol=2e-6)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(statuses) == {200}
    assert max(sums) < 1e-4

    def counted() -> bool:
        return metric_sum(server, "axon_requests_total") - before["axon_requests_total"] >= 300

    deadline = time.monotonic() + 30
    while not counted():
        assert time.monotonic() < deadline
    assert metric_sum(server, "axon_requests_total") - before["axon_requests_total"] == 300
    requests = metric_sum(server, "axon_explanation_requests_total") - before["axon_explanation_requests_total"]
    assert requests == len(statuses)
    assert metric_sum(server, "axon_explained_rows_total") - before["axon_explained_rows_total"] == 4 * len(statuses)
    lines = [json.loads(line) for line in server.log().splitlines() if '"explained"' in line]
    assert lines[-1]["rows"] == 4


def test_a_row_whose_answer_is_not_finite_is_named(tmp_path: Path) -> None:
    schema = Schema(
        columns=(numeric("x", 0, 1), numeric("z", 0, 1)),
        target=NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1),
    )
    tensors = {
        "layers.0.weight": np.array([[3e38, 0]], dtype=np.float32),
        "layers.0.bias": np.zeros(1, dtype=np.float32),
    }
    store = Store(tmp_path / "store")
    store.publish(
        "fragile", Checkpoint(config=MLPConfig(layer_sizes=(2, 1), output="linear"), schema=schema, tensors=tensors)
    )
    with running(store.root, tmp_path) as server:
        status, detail = problem(explain(server, "fragile", [[0, 0], [20, 1]]))
        assert (status, "Row 1, column 'x': 20 is outside the range" in detail) == (422, True), detail


def test_the_client_and_a_loaded_model_give_the_same_reasons(server: Server, tmp_path: Path) -> None:
    store = Path(server.environment["AXON_STORE"])
    frame = pd.DataFrame(
        [{"other": 1, "town": "Oslo", "age": 51.0, "day": pd.Timestamp("2023-11-05"), "sex": "m", "gap": np.nan}] * 3
    ).assign(age=[51.0, 20.0, 33.0])
    local = axon.load("mixed", store=store)
    for background in (None, frame[:2]):
        here = local.explain(frame, background=background, output="red")
        with axon.Client(server.url) as client:
            there = client.explain(frame, "mixed", background=background, output="red")
        assert (there.model, there.version, there.scale) == ("mixed", 1, "probability")
        assert here.background == there.background == ("centre" if background is None else "request")
        assert here.predictions == there.predictions
        for row in range(3):
            assert there.contributions(row) == pytest.approx(here.contributions(row), abs=1e-6)
        table = there.to_pandas()
        assert set(table) == {*CHECKPOINTS["mixed"].schema.names, "base", "value"}
        assert (table.drop(columns=["base", "value"]).sum(axis=1) - table["value"] + table["base"]).abs().max() < 1e-4
    assert str(there).splitlines()[0] == "mixed@1, probability compared with the background rows of the request"
    far = axon.load("far", store=store).explain(ROWS["far"])
    [served] = explained(server, "far", ROWS["far"])["explanations"]
    assert far.contributions() == pytest.approx(contributions(served), abs=1e-3)
    assert far.rows[0]["value"] == pytest.approx(served["value"])


def test_the_client_cuts_rows_into_requests_that_the_server_takes(server: Server) -> None:
    rows = np.random.default_rng(3).normal(size=(150, 30))

    async def ask() -> Explanations:
        async with axon.AsyncClient(server.url) as client:
            return await client.explain(rows, "thirty", samples=1000)

    found = asyncio.run(ask())
    assert len(found.rows) == 150
    with axon.Client(server.url) as client:
        alone = client.explain(rows[149:], "thirty", samples=1000)
        assert found.contributions(149) == alone.contributions()
        with pytest.raises(axon.client.RowsRefused, match="Row 120"):
            client.explain([*rows[:120].tolist(), [1.0] * 29], "thirty", samples=4)
        with pytest.raises(ConfigError, match="name one with model"):
            client.explain(rows[0].tolist())
        with pytest.raises(DataError, match="no rows"):
            client.explain([], "thirty")
    local = axon.load("thirty", store=Path(server.environment["AXON_STORE"]))
    with pytest.raises(ConfigError, match="samples must be a whole number from 4"):
        local.explain(rows, samples=1)


def test_a_client_that_hangs_up_is_explained_no_further(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.publish("thirty", CHECKPOINTS["thirty"])
    with running(store.root, tmp_path, access_log=True) as server:
        [worker] = server.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        try:
            body = json.dumps({"instances": [[1.0] * 30]}).encode()
            with socket.create_connection(("127.0.0.1", server.port)) as stream:
                head = f"POST /models/thirty/explain HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                stream.sendall(head.encode() + body)
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wait_until(lambda: '"explained"' in server.log(), server.log)
        finally:
            os.kill(worker, signal.SIGCONT)
        [line] = [json.loads(line) for line in server.log().splitlines() if '"explained"' in line]
        assert (line["status"], line["rows"]) == (499, 0)
        assert explained(server, "thirty", [[1.0] * 30])["explanations"]
