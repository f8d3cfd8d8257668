"""`intervals` in a request: the bounds and sets of each door, against NumPy over plain answers."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from ensembles import ensemble
from grpc_client import GrpcServer, tensor
from serving import CLASSES, ROOT, http_get, http_post, numeric, running

import axon
from axon.client import ClientError
from models.columns.schema import NumericTarget, Schema
from models.conformal import Conformal
from models.errors import ConfigError
from models.store import Store

COLUMNS = tuple(numeric(f"x{i}") for i in range(6))
PRICE = NumericTarget(name="price", mean=3.0, std=2.0, minimum=-40, maximum=40)
FAR = NumericTarget(name="time", mean=1.7e9, std=90, minimum=1.6e9, maximum=1.8e9, origin=1.7e9)
FEW = np.random.default_rng(0).normal(size=(3, len(COLUMNS))).astype(np.float32)
MANY = np.random.default_rng(1).normal(size=(3000, len(COLUMNS))).astype(np.float32)
TARGETS = {"classes": CLASSES, "values": PRICE, "far": FAR}
# Scores for 99 rows, so that the threshold of a level of two decimals is the score of that hundredth.
SCORES = {
    "classes": np.linspace(0.2, 0.95, 99).round(4),
    "values": np.linspace(0.1, 9.9, 99).round(4),
    "far": np.linspace(0.1, 9.9, 99).round(4),
}
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServer]:
    folder = tmp_path_factory.mktemp("intervals")
    store = Store(folder / "store")
    for name, target in TARGETS.items():
        checkpoint = ensemble(Schema(columns=COLUMNS, target=target), 2, 16)
        store.publish(name, replace(checkpoint, conformal=Conformal(99, SCORES[name])))
        store.publish(f"old-{name}", checkpoint)
    kind: Any = GrpcServer
    with running(store.root, folder, kind, workers=1) as found:
        assert isinstance(found, GrpcServer)
        yield found
        assert "Traceback" not in found.log(), found.log()


def asked(server: GrpcServer, model: str, rows: Any, level: Any = None, **more: Any) -> dict[str, Any]:
    more |= {} if level is None else {"intervals": level}
    answer = http_post(f"{server.url}/predict", json={"model": model, **more, "instances": rows.tolist()})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def expected(model: str, plain: dict[str, Any], level: float) -> list[Any]:
    """Returns the bounds or sets of an answer, by NumPy."""
    threshold = SCORES[model][math.ceil(round(100 * level, 6)) - 1]
    if model != "classes":
        return [[value - threshold, value + threshold] for value in plain["predictions"]]
    sets = []
    for probabilities, prediction in zip(plain["probabilities"], plain["predictions"], strict=True):
        pairs = zip(CLASSES.labels, probabilities, strict=True)
        sets.append([label for label, p in pairs if 1 - p <= threshold or label == prediction])
    return sets


def same(model: str, found: Any, wanted: Any) -> bool:
    if model == "classes":
        return bool(found == wanted)
    return bool(np.allclose(found, wanted, rtol=1e-6 if model == "values" else 1e-12, atol=1e-5))


@pytest.mark.parametrize("rows", [FEW[:1], FEW, MANY[:40], MANY], ids=["one row", "a few", "forty", "many"])
@pytest.mark.parametrize("model", TARGETS)
def test_json_has_intervals_and_sets(server: GrpcServer, model: str, rows: np.ndarray[Any, Any]) -> None:
    plain = asked(server, model, rows)
    member = "sets" if model == "classes" else "intervals"
    sizes = []
    for level in (0.25, 0.5, 0.9, 0.99):
        answer = asked(server, model, rows, level)
        covering = answer.pop(member)
        assert answer == plain
        assert same(model, covering, expected(model, plain, level))
        sizes.append(sum(map(len, covering)) if model == "classes" else covering[0][1] - covering[0][0])
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] or len(rows) == 1


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["a few", "many"])
@pytest.mark.parametrize("model", TARGETS)
def test_tables_have_columns_for_them(server: GrpcServer, model: str, rows: np.ndarray[Any, Any]) -> None:
    plain = asked(server, model, rows)
    wanted = expected(model, plain, 0.9)
    lines = [",".join(column.name for column in COLUMNS), *(",".join(map(repr, row)) for row in rows.tolist())]
    url, query = f"{server.url}/predict", {"model": model, "intervals": "0.9"}
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = http_post(url, params=query, content="\n".join(lines), headers=headers)
    assert answer.status_code == 200, answer.text
    read = list(csv.DictReader(io.StringIO(answer.text)))
    if model == "classes":
        found: Any = [json.loads(row["set"]) for row in read]
    else:
        found = [[float(row["low"]), float(row["high"])] for row in read]
    assert same(model, found, wanted)
    headers["Accept"] = ARROW
    answer = http_post(url, params=query, content="\n".join(lines), headers=headers)
    assert answer.status_code == 200, answer.text[:500]
    table = pa.ipc.open_stream(answer.content).read_all()
    if model == "classes":
        sets = [
            [label for label, is_in in zip(CLASSES.labels, row, strict=True) if is_in]
            for row in table["set"].to_pylist()
        ]
        assert sets == wanted
    else:
        assert same(model, list(zip(table["low"].to_pylist(), table["high"].to_pylist(), strict=True)), wanted)
    headers = {"Content-Type": "application/json", "Accept": "text/csv"}
    body = {"model": model, "instances": rows.tolist(), "intervals": 0.9}
    assert http_post(url, json=body, headers=headers).text.splitlines()[0].split(",")[-1] in ("set", "high")


@pytest.mark.parametrize("model", TARGETS)
def test_the_client_asks_for_them(server: GrpcServer, model: str) -> None:
    plain = asked(server, model, MANY)
    wanted = expected(model, plain, 0.9)
    with axon.Client(server.url, rows_per_request=1000) as client:
        answer = client.predict(MANY, model, intervals=0.9)
        with pytest.raises(ConfigError, match="must be a level between 0 and 1"):
            client.predict(MANY, model, intervals=9)
        with pytest.raises(ClientError, match=f"old-{model}@1 has no calibration rows"):
            client.predict(MANY, f"old-{model}", intervals=0.9)
    assert answer.predictions == plain["predictions"]
    assert same(model, answer.sets if model == "classes" else answer.intervals, wanted)
    assert list(answer.to_pandas().columns)[-1] == ("set" if model == "classes" else "high")


@pytest.mark.parametrize("model", ["classes", "values"])
def test_the_command_asks_for_them(server: GrpcServer, model: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [",".join(column.name for column in COLUMNS), *(",".join(map(repr, row)) for row in FEW.tolist())]
    path.write_text("\n".join(lines) + "\n")

    def answered(*where: str) -> list[dict[str, str]]:
        command = [sys.executable, "-m", "axon", "predict", str(path), "--model", model, "--intervals", "0.9", *where]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return list(csv.DictReader(io.StringIO(done.stdout)))

    few = expected(model, asked(server, model, FEW), 0.9)
    if model == "classes":
        sets = [json.loads(row["set"]) for row in answered("--url", server.url)]
        assert sets == [json.loads(row["set"]) for row in answered("--store", server.environment["AXON_STORE"])] == few
    else:
        bounds = [[float(row["low"]), float(row["high"])] for row in answered("--url", server.url)]
        assert np.allclose(bounds, few, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["a small body", "a large body"])
@pytest.mark.parametrize("level", [0, 1, -0.5, 2, "0.9", True, [0.9], {}, 1e400])
def test_what_is_no_level_is_refused(server: GrpcServer, level: Any, rows: np.ndarray[Any, Any]) -> None:
    body = json.dumps({"model": "values", "intervals": level, "instances": rows.tolist()}).replace("Infinity", "1e400")
    answer = http_post(f"{server.url}/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert "intervals" in answer.json()["detail"] or level == 1e400


@pytest.mark.parametrize("rows", [FEW, MANY], ids=["a small body", "a large body"])
def test_a_model_says_what_it_lacks(server: GrpcServer, rows: np.ndarray[Any, Any]) -> None:
    def refused(model: str, **more: Any) -> str:
        answer = http_post(f"{server.url}/predict", json={"model": model, "instances": rows.tolist(), **more})
        assert answer.status_code == 422, answer.text
        return str(answer.json()["detail"])

    assert "old-values@1 has no calibration rows for them: train it again" in refused("old-values", intervals=0.9)
    assert "99 calibration rows support levels up to 0.99" in refused("values", intervals=0.995)
    assert "are for the answers of all 2 members" in refused("values", intervals=0.9, members=1)
    assert "intervals" in asked(server, "values", rows, 0.9, members=2)
    assert asked(server, "old-values", rows, None)["predictions"]


def test_the_other_protocols_refuse_them(server: GrpcServer) -> None:
    inputs = [{"name": "rows", "shape": FEW.shape, "datatype": "FP32", "data": FEW.ravel().tolist()}]
    parameters = {"intervals": 0.9}
    answer = http_post(f"{server.url}/v2/models/values/infer", json={"inputs": inputs, "parameters": parameters})
    assert answer.status_code == 400, answer.text
    assert "no place for intervals: ask POST /predict" in answer.text
    given = tensor("rows", "FP32", *FEW.shape)
    level = {"intervals": {"double_param": 0.9}}
    with server.client() as client, pytest.raises(Exception, match="no place for intervals"):
        client.infer("values", given, raw=[FEW.tobytes()], parameters=level)
    scored = f"{server.url}/invocations?model=values"
    answer = http_post(scored, json={"inputs": FEW.tolist(), "params": parameters})
    assert answer.status_code >= 400
    lines = [",".join(column.name for column in COLUMNS), *(",".join(map(repr, row)) for row in FEW.tolist())]
    answer = http_post(f"{scored}&intervals=0.9", content="\n".join(lines), headers={"Content-Type": "text/csv"})
    assert answer.status_code >= 400
    assert "no place for intervals" in answer.text
    answer = http_post(f"{server.url}/v1/models/values:predict", json={"instances": FEW.tolist(), "intervals": 0.9})
    assert answer.status_code >= 400
    answer = http_post(f"{server.url}/predict?intervals=0.9", json={"model": "values", "instances": FEW.tolist()})
    assert answer.status_code == 422
    assert '"intervals": 0.9' in answer.json()["detail"]
    for wrong in ("x", "", "0", "1", "nan", "0.9&intervals=0.8"):
        url = f"{server.url}/predict?model=values&intervals={wrong}"
        answer = http_post(url, content="\n".join(lines), headers={"Content-Type": "text/csv"})
        assert answer.status_code == 422, (wrong, answer.text)


def test_a_model_tells_whether_it_has_them(server: GrpcServer) -> None:
    assert http_get(f"{server.url}/models/values").json()["intervals"] == {"rows": 99, "highest_level": 0.99}
    assert http_get(f"{server.url}/models/old-values").json()["intervals"] is None


def test_requests_with_and_without_them_share_batches(server: GrpcServer) -> None:
    from concurrent.futures import ThreadPoolExecutor

    plain = asked(server, "classes", FEW)
    wanted = {level: expected("classes", plain, level) for level in (0.25, 0.9)}

    def ask(number: int) -> bool:
        row, level = number % len(FEW), (None, 0.25, 0.9)[number % 7 % 3]
        answer = asked(server, "classes", FEW[row][None], level)
        sets = answer.pop("sets", None)
        return (sets is None) if level is None else bool(sets == [wanted[level][row]])

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(300)))
