"""A model with several targets on a real server: each door, intervals, reasons, drift, documents and the log."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from grpc_client import GrpcServer, tensor
from serving import SEVERAL, http_get, http_post, make_checkpoint, numeric, running, wait_until

from axon.explainer import explain_rows
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.schema import NumericTarget, Schema
from models.conformal import Conformal
from models.prediction_log.reading import read_log
from models.store import Store
from training.distributions import training_distributions

# The table has a column with the name of a target.
COLUMNS = ("area", "rent", "floor")
SCHEMA = Schema(columns=tuple(numeric(name, 0.3, 1.7) for name in COLUMNS), target=SEVERAL)
STDS = np.array([one.std for one in SEVERAL.targets])
SCORES = np.array([np.linspace(0.01, most, 99).round(8) for most in (3.0, 2e6, 0.1)])
NAMES = ["rent", "sold", "cost"]
FEW = np.random.default_rng(0).normal(size=(3, 3)).round(3)
MANY = np.random.default_rng(1).normal(size=(9_000, 3)).round(3)
METRICS = {"r2": 0.5, "rmse": 0.7, "mae": 0.6, "targets": {name: {"rmse": 1.0, "r2": 0.5} for name in NAMES}}
LEVEL = 0.9


def made(seed: int = 0) -> Checkpoint:
    checkpoint = make_checkpoint(SCHEMA, 8, clamp=True, seed=seed)
    x = np.random.default_rng(2).normal(size=(2_000, 3)).astype(np.float32)
    answers = checkpoint.inference_network().answer(x)
    distributions = training_distributions(SCHEMA, x, answers, seed=0)
    return replace(checkpoint, conformal=Conformal(99, SCORES), distributions=distributions, metrics={"test": METRICS})


CHECKPOINT = made()


def by_hand(rows: Any, checkpoint: Checkpoint = CHECKPOINT) -> np.ndarray:
    """Returns the values for rows, (rows, 3), by NumPy in float64 from the tensors of the file."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    first, second = (name.removesuffix("weight") for name in tensors if name.endswith("weight"))
    x = (np.asarray(rows, dtype=np.float64) - 0.3) / 1.7
    hidden = np.maximum(x @ tensors[f"{first}weight"].T + tensors[f"{first}bias"], 0)
    y = hidden @ tensors[f"{second}weight"].T + tensors[f"{second}bias"]
    targets = SEVERAL.targets
    values = y * STDS + [one.mean for one in targets]
    return np.clip(values, [one.minimum for one in targets], [one.maximum for one in targets])


def check(found: Any, wanted: np.ndarray) -> None:
    """Checks values, or bounds of values, to a few units of float32 in the standard deviations of the targets."""
    array = np.array(found, dtype=np.float64)
    assert array.shape == wanted.shape
    scale = STDS if array.shape[-1] == 3 else STDS[:, None]
    np.testing.assert_allclose(array / scale, wanted / scale, rtol=1e-6, atol=1e-5)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("several") / "log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[GrpcServer]:
    store = Store(log.parent / "store")
    store.publish("houses", CHECKPOINT)
    store.publish("houses", made(seed=1))
    price = NumericTarget(name="price", mean=0, std=1, minimum=-9, maximum=9)
    store.publish("price", make_checkpoint(replace(SCHEMA, target=price), 8))
    kind: Any = GrpcServer
    drift = {"drift_window_rows": 1_000_000, "drift_window_seconds": 3_600, "drift_rows_per_second": 1_000_000}
    with running(
        store.root, log.parent, kind, workers=1, prediction_log=log, prediction_log_sample=1, **drift
    ) as found:
        assert isinstance(found, GrpcServer)
        yield found
        assert "Traceback" not in found.log(), found.log()


def asked(server: GrpcServer, path: str, **body: Any) -> dict[str, Any]:
    answer = http_post(f"{server.url}{path}", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def bounds(rows: np.ndarray) -> np.ndarray:
    threshold = SCORES[:, 89]  # rank ⌈100 · 0.9⌉
    values = by_hand(rows)
    return np.stack([values - threshold, values + threshold], axis=2)


@pytest.mark.parametrize("rows", [FEW[:1], FEW, MANY], ids=["one row", "a few", "many"])
def test_json_and_tables(server: GrpcServer, rows: np.ndarray) -> None:
    answer = asked(server, "/predict", model="houses@1", instances=rows.tolist())
    assert (answer["model"], answer["version"]) == ("houses", 1)
    check(answer["predictions"], by_hand(rows))
    covered = asked(server, "/predict", model="houses@1", instances=rows.tolist(), intervals=LEVEL)
    check(covered.pop("intervals"), bounds(rows))
    assert covered == answer

    text = "\n".join([",".join(COLUMNS), *(",".join(map(repr, row)) for row in rows.tolist())])
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    url, query = f"{server.url}/predict", {"model": "houses@1", "intervals": str(LEVEL)}
    read = list(csv.DictReader(io.StringIO(http_post(url, params=query, content=text, headers=headers).text)))
    assert [[float(row[f"prediction_{name}"]) for name in NAMES] for row in read] == answer["predictions"]
    found = [[[float(row[f"prediction_{name}_{end}"]) for end in ("low", "high")] for name in NAMES] for row in read]
    check(found, bounds(rows))
    headers["Accept"] = "application/vnd.apache.arrow.stream"
    table = pa.ipc.open_stream(http_post(url, params=query, content=text, headers=headers).content).read_all()
    assert [table[f"prediction_{name}"].to_pylist() for name in NAMES] == list(
        map(list, zip(*answer["predictions"], strict=True))
    )


def test_plain_requests_that_come_together_get_their_own_rows(server: GrpcServer) -> None:
    def one(row: list[float]) -> list[float]:
        found: list[float] = asked(server, "/predict", model="houses@1", instances=[row])["predictions"][0]
        return found

    with ThreadPoolExecutor(16) as pool:
        check(list(pool.map(one, MANY[:200].tolist())), by_hand(MANY[:200]))


def test_other_protocols(server: GrpcServer) -> None:
    wanted, rows = by_hand(FEW), FEW.tolist()
    check(asked(server, "/v1/models/houses/versions/1:predict", instances=rows)["predictions"], wanted)
    check(asked(server, "/v1/models/houses/versions/1:predict", inputs=rows)["outputs"], wanted)
    examples = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    refused = http_post(f"{server.url}/v1/models/houses:regress", json={"examples": examples})
    assert (refused.status_code, refused.json()["error"]) == (
        400,
        "'houses' has several targets: ask for :predict, not for :regress.",
    )
    metadata = http_get(f"{server.url}/v1/models/houses/metadata").json()["metadata"]["signature_def"]["signature_def"]
    output = metadata["serving_default"]["outputs"]["predictions"]
    assert (output["dtype"], [one["size"] for one in output["tensor_shape"]["dim"]]) == ("DT_DOUBLE", ["-1", "3"])
    frame = {"columns": list(COLUMNS), "data": rows}
    check(asked(server, "/invocations?model=houses@1", dataframe_split=frame)["predictions"], wanted)
    given = {"name": "input", "shape": [3, 3], "datatype": "FP64", "data": FEW.ravel().tolist()}
    [output] = asked(server, "/v2/models/houses/versions/1/infer", inputs=[given])["outputs"]
    assert (output["datatype"], output["shape"]) == ("FP64", [3, 3])
    check(np.reshape(output["data"], (3, 3)), wanted)
    described = http_get(f"{server.url}/v2/models/houses").json()["outputs"]
    assert described == [{"name": "predictions", "datatype": "FP64", "shape": [-1, 3]}]
    with server.client() as client:
        raw = FEW.astype("<f8").tobytes()
        answer = client.infer("houses", tensor("input", "FP64", 3, 3), raw=[raw], model_version="1")
        assert (list(answer.outputs[0].shape), answer.outputs[0].datatype) == ([3, 3], "FP64")
        check(np.frombuffer(answer.raw_output_contents[0], "<f8").reshape(3, 3), wanted)


def test_the_documents_name_the_targets(server: GrpcServer) -> None:
    detail = http_get(f"{server.url}/models/houses@1").json()
    assert (detail["targets"], detail["classes"], detail["task"]) == (NAMES, None, "regression")
    assert detail["metrics"]["test"] == METRICS
    assert detail["intervals"] == {"rows": 99, "highest_level": 0.99}
    check(asked(server, "/predict", **detail["example"] | {"model": "houses@1"})["predictions"], by_hand(
        [list(row.values()) for row in detail["example"]["instances"]]
    ))  # fmt: skip
    listed = {one["name"]: one for one in http_get(f"{server.url}/models").json()["models"]}
    assert (listed["houses"]["targets"], listed["price"]["targets"]) == (NAMES, None)
    assert listed["houses"]["metrics"] == {"r2": 0.5, "rmse": 0.7, "mae": 0.6}
    assert http_get(f"{server.url}/models/price").json()["targets"] is None
    assert http_get(f"{server.url}/models/houses@1/network").json()["outputs"] == NAMES
    assert http_get(f"{server.url}/models/price/network").json()["outputs"] == ["price"]
    training = http_get(f"{server.url}/models/houses@1/training").json()
    assert [(one["name"], one["kind"], one["minimum"]) for one in training["predictions"]] == [
        (one.name, "value", one.minimum) for one in SEVERAL.targets
    ]
    assert training["metrics"]["test"] == {"r2": 0.5, "rmse": 0.7, "mae": 0.6}


def shapley(row: np.ndarray, base: np.ndarray, place: int) -> dict[str, float]:
    """Returns the Shapley value of each column for one target, over all subsets."""

    def value(coalition: tuple[int, ...]) -> float:
        mixed = base.copy()
        mixed[list(coalition)] = row[list(coalition)]
        return float(by_hand(mixed[None])[0, place])

    found = {}
    for player, name in enumerate(COLUMNS):
        others = [other for other in range(3) if other != player]
        found[name] = sum(
            factorial(size) * factorial(2 - size) / 6 * (value((*subset, player)) - value(subset))
            for size in range(3)
            for subset in combinations(others, size)
        )
    return found


@pytest.mark.parametrize("output", [None, *NAMES])
def test_reasons_are_those_of_the_chosen_target(server: GrpcServer, output: str | None) -> None:
    more = {} if output is None else {"output": output}
    base = np.array([0.3, 0.3, 0.3])
    given = {"instances": FEW[:1].tolist(), "background": [base.tolist()], **more}
    document = asked(server, "/models/houses@1/explain", **given)
    [explained] = document["explanations"]
    place = NAMES.index(output or "rent")
    assert (document["scale"], explained["output"]) == ("value", NAMES[place])
    check([explained["prediction"]], by_hand(FEW[:1]))
    assert explained["value"] == pytest.approx(explained["prediction"][place], rel=1e-7)  # as float32 has digits
    found = {reason["column"]: reason["contribution"] for reason in explained["reasons"]}
    wanted = shapley(FEW[0], base, place)
    assert found == {name: pytest.approx(share, rel=1e-4, abs=1e-5 * STDS[place]) for name, share in wanted.items()}
    total = sum(found.values())
    assert total == pytest.approx(explained["value"] - explained["base"], rel=1e-6, abs=1e-6 * STDS[place])
    here = explain_rows(Answerer(CHECKPOINT), "houses", FEW[:1], background=base[None], output=output).rows[0]
    assert here["output"] == explained["output"]
    check([here["prediction"]], by_hand(FEW[:1]))
    assert {reason["column"]: reason["contribution"] for reason in here["reasons"]} == {
        name: pytest.approx(share, rel=1e-4, abs=1e-5 * STDS[place]) for name, share in found.items()
    }
    text = http_post(f"{server.url}/models/houses@1/explain", json=given, headers={"Accept": "text/plain"}).text
    assert f"row 0: value of {NAMES[place]} " in text


def test_what_is_no_target_is_refused(server: GrpcServer) -> None:
    for model, words in (("houses", "its targets are 'rent', 'sold', 'cost'"), ("price", "leave output out")):
        body = {"instances": FEW[:1].tolist(), "output": "area"}
        answer = http_post(f"{server.url}/models/{model}/explain", json=body)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]


def test_drift_tells_a_target_from_the_column_of_its_name(server: GrpcServer) -> None:
    rows = np.random.default_rng(5).normal(size=(3_000, 3)) * [1, 1, 1] + [0, 3, 0]  # only `rent`, the column, moves
    for at in range(0, 3_000, 1_000):
        asked(server, "/predict", model="houses@2", instances=rows[at : at + 1_000].tolist())

    def drift() -> dict[str, Any]:
        found: dict[str, Any] = http_get(f"{server.url}/models/houses@2/drift", params={"window": "current"}).json()
        return found

    wait_until(lambda: bool(drift()["current"]) and drift()["current"]["rows"] >= 3_000)
    document = drift()
    assert document["verdict"] == "drift"
    features = {one["name"]: one for one in document["features"]}
    assert [name for name in COLUMNS if features[name]["flagged"]] == ["rent"]
    predictions = {one["name"]: one for one in document["predictions"]}
    assert {name: one["kind"] for name, one in predictions.items()} == dict.fromkeys(NAMES, "value")
    assert "rent" in document["flagged"]
    moved = [name for name in NAMES if predictions[name]["flagged"]]
    assert set(document["flagged"]) == {"rent", *(f"{name} (predicted)" for name in moved)}
    values = by_hand(rows, made(seed=1))
    for name, column in zip(NAMES, values.T, strict=True):
        counts = np.histogram(column, [-np.inf, *predictions[name]["edges"], np.inf])[0]
        np.testing.assert_allclose(predictions[name]["window"], counts / 3_000, atol=2e-3)


def test_the_log_has_the_values_of_each_target(server: GrpcServer, log: Path) -> None:
    answer = http_post(
        f"{server.url}/predict",
        json={"model": "houses@1", "instances": FEW.tolist()},
        headers={"X-Request-ID": "logged-rows"},
    )

    def found() -> list[list[float]]:
        parts = [rows for rows in read_log(log) if rows.version.targets is not None] if log.is_dir() else []
        return [
            rows.values()[at].tolist()
            for rows in parts
            for at in range(len(rows))
            if rows.request_ids[at] == "logged-rows"
        ]

    wait_until(lambda: len(found()) == 3)
    assert found() == answer.json()["predictions"]
    assert json.loads(answer.text)["predictions"][0] == found()[0]
