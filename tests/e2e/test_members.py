"""`members: k` gives the answer of a checkpoint with the first k members alone, bit for bit, through every door."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pytest
from ensembles import ensemble
from grpc_client import GrpcServer, tensor
from serving import CLASSES, ROOT, http_post, numeric, running

import axon
from axon.client import ClientError
from models.columns.schema import NumericTarget, Schema
from models.errors import ConfigError
from models.store import Store

MEMBERS = 4
COLUMNS = tuple(numeric(f"x{i}") for i in range(6))
VALUE = NumericTarget(name="price", mean=1.7e9, std=90, minimum=1.6e9, maximum=1.8e9, origin=1.7e9)
FEW = np.random.default_rng(0).normal(size=(3, len(COLUMNS))).astype(np.float32)
MANY = np.random.default_rng(1).normal(size=(900, len(COLUMNS))).astype(np.float32)
Door = Callable[["GrpcServer", str, np.ndarray[Any, Any], "int | None"], Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GrpcServer]:
    folder = tmp_path_factory.mktemp("members")
    store = Store(folder / "store")
    for members in range(1, MEMBERS + 1):
        store.publish(f"classes{members}", ensemble(Schema(columns=COLUMNS, target=CLASSES), members, 32, 16))
        store.publish(
            f"values{members}", ensemble(Schema(columns=COLUMNS, target=VALUE), members, 16, activation="gelu")
        )
        weighted = ensemble(Schema(columns=COLUMNS, target=CLASSES), members, 16, weights=(3, 1, 4, 2))
        store.publish(f"weighted{members}", weighted)
    kind: Any = GrpcServer
    with running(store.root, folder, kind, workers=2) as found:
        assert isinstance(found, GrpcServer)
        yield found
        assert "Traceback" not in found.log(), found.log()


def numbers(answer: dict[str, Any]) -> Any:
    """Returns what the network has computed."""
    return answer.get("probabilities") or answer["predictions"]


def json_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    more = {} if members is None else {"members": members}
    answer = http_post(f"{server.url}/predict", json={"model": model, "instances": rows.tolist(), **more})
    assert answer.status_code == 200, answer.text
    return numbers(answer.json())


def csv_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    lines = [",".join(column.name for column in COLUMNS), *(",".join(map(repr, row)) for row in rows.tolist())]
    more = {} if members is None else {"members": members}
    answer = http_post(
        f"{server.url}/predict",
        params={"model": model, **more},
        content="\n".join(lines),
        headers={"Content-Type": "text/csv"},
    )
    assert answer.status_code == 200, answer.text
    return numbers(answer.json())


def arrow_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    table = pa.table({column.name: rows[:, at] for at, column in enumerate(COLUMNS)})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    more = {} if members is None else {"members": members}
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    answer = http_post(
        f"{server.url}/predict", params={"model": model, **more}, content=sink.getvalue(), headers=headers
    )
    assert answer.status_code == 200, answer.text
    return numbers(answer.json())


def infer_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    body = {
        "inputs": [{"name": "rows", "shape": rows.shape, "datatype": "FP32", "data": rows.ravel().tolist()}],
        "parameters": {} if members is None else {"members": members},
    }
    answer = http_post(f"{server.url}/v2/models/{model}/infer", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][-1]["data"]


def binary_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    parameters = {"binary_data_size": rows.nbytes}
    document: dict[str, Any] = {
        "inputs": [{"name": "rows", "shape": rows.shape, "datatype": "FP32", "parameters": parameters}]
    }
    if members is not None:
        document["parameters"] = {"members": members}
    head = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = http_post(f"{server.url}/v2/models/{model}/infer", content=head + rows.tobytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][-1]["data"]


def mlflow_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    document = {"inputs": rows.tolist(), "params": {} if members is None else {"members": members}}
    answer = http_post(f"{server.url}/invocations", params={"model": model}, json=document)
    assert answer.status_code == 200, answer.text
    return numbers(answer.json())


def grpc_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    more: dict[str, Any] = {} if members is None else {"parameters": {"members": {"int64_param": members}}}
    with server.client() as client:
        answer = client.infer(model, tensor("rows", "FP32", *rows.shape), raw=[rows.tobytes()], **more)
    return list(answer.raw_output_contents[-1])


def client_door(server: GrpcServer, model: str, rows: Any, members: int | None) -> Any:
    with axon.Client(server.url) as client:
        answer = client.predict(rows, model, members=members)
    return answer.predictions if answer.probabilities is None else answer.probabilities.tolist()


DOORS = [json_door, csv_door, arrow_door, infer_door, binary_door, mlflow_door, grpc_door, client_door]


@pytest.mark.parametrize("rows", [FEW[:1], FEW, MANY], ids=["one row", "a few", "many"])
@pytest.mark.parametrize("kind", ["classes", "values", "weighted"])
@pytest.mark.parametrize("door", DOORS)
def test_the_first_members_answer_as_a_checkpoint_of_them_alone(
    server: GrpcServer, door: Door, kind: str, rows: np.ndarray[Any, Any]
) -> None:
    answers = {}
    for members in range(1, MEMBERS + 1):
        answers[members] = door(server, f"{kind}{MEMBERS}", rows, members)
        assert answers[members] == door(server, f"{kind}{members}", rows, None), members
    assert answers[MEMBERS] == door(server, f"{kind}{MEMBERS}", rows, None)
    assert answers[1] != answers[2] != answers[3] != answers[4]


def test_requests_for_different_members_are_batched_apart(server: GrpcServer) -> None:
    expected = [[json_door(server, f"classes{members}", row[None], None) for row in FEW] for members in range(1, 5)]

    def ask(number: int) -> bool:
        members, at = 1 + number % MEMBERS, number % len(FEW)
        given = None if members == MEMBERS else members
        answer: bool = json_door(server, f"classes{MEMBERS}", FEW[at][None], given) == expected[members - 1][at]
        return answer

    with ThreadPoolExecutor(24) as threads:
        assert all(threads.map(ask, range(600)))


@pytest.mark.parametrize("body", [FEW, MANY], ids=["a small body", "a large body"])
@pytest.mark.parametrize(
    ("members", "words"),
    [
        (5, "members is 5, and classes4@1 has 4 members"),
        (0, "members: Input should be greater than or equal to 1"),
        (-1, "members: Input should be greater"),
        (1.5, "members: "),
        (True, "members: "),
        ("2", "members: "),
        ([2], "members: "),
        ({}, "members: "),
    ],
)
def test_other_numbers_of_members_are_refused(
    server: GrpcServer, members: Any, words: str, body: np.ndarray[Any, Any]
) -> None:
    document = {"model": "classes4", "members": members, "instances": body.tolist()}
    answer = http_post(f"{server.url}/predict", json=document)
    assert answer.status_code == 422, answer.text
    assert words.lower() in answer.json()["detail"].lower()


def test_each_door_refuses_more_members_than_there_are(server: GrpcServer) -> None:
    for door in (csv_door, arrow_door, infer_door, binary_door, mlflow_door):
        with pytest.raises(AssertionError, match="is a single network"):
            door(server, "classes1", FEW, 2)
    with pytest.raises(Exception, match="is a single network"):
        grpc_door(server, "classes1", FEW, 2)
    with pytest.raises(ClientError, match="is a single network"):
        client_door(server, "classes1", FEW, 2)
    with pytest.raises(ConfigError, match="members must be a whole number from 1 on"):
        client_door(server, "classes1", FEW, 0)
    for wrong in ("0", "x", "2&members=3", "", "-1"):
        answer = http_post(
            f"{server.url}/predict?model=classes4&members={wrong}",
            content="x0\n1",
            headers={"Content-Type": "text/csv"},
        )
        assert answer.status_code == 422, (wrong, answer.text)
    answer = http_post(f"{server.url}/predict?members=2", json={"model": "classes4", "instances": FEW.tolist()})
    assert answer.status_code == 422, answer.text
    assert '"members": 2' in answer.json()["detail"]


def test_a_file_is_answered_by_the_first_members(server: GrpcServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    lines = [",".join(column.name for column in COLUMNS), *(",".join(map(repr, row)) for row in FEW.tolist())]
    path.write_text("\n".join(lines) + "\n")

    def answered(model: str, *more: str) -> str:
        command = [sys.executable, "-m", "axon", "predict", str(path), "--url", server.url, "--model", model, *more]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert answered("values4", "--members", "2") == answered("values2") != answered("values4")
