"""The log of predictions of a real server: all doors, all kinds of columns, what is left out, what is not logged."""

from __future__ import annotations

import contextlib
import io
import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scored_tables
from grpc_client import GrpcServer, grpc, tensor
from serving import PATIENCE_SECONDS, http_client, http_get, http_post, metric_sum, running, wait_until

import axon
from models.columns.column import CategoricalColumn, NumericColumn
from models.columns.schema import ClassTarget, Schema
from models.prediction_log.folder import spools
from models.prediction_log.reading import read_log
from tests.serving import Server, make_checkpoint, numeric

TOWNS = Schema(
    columns=(
        NumericColumn(name="age", mean=40, std=12, minimum=0, maximum=110, missing="indicator"),
        CategoricalColumn(name="town", categories=("Ely", "Rye", "Åre"), unknown="ignore", missing="ignore"),
        numeric("secret_income"),
    ),
    target=ClassTarget(name="buys", labels=("no", "yes")),
)
Row = dict[str, Any]


def logged(folder: Path) -> pd.DataFrame:
    """Returns all logged rows, one record each, with the inputs by name."""
    records = []
    for rows in read_log(folder):
        for at in range(len(rows)):
            cells = {column.name: rows.columns[k][at] for k, column in enumerate(rows.version.columns)}
            answers = rows.values()[at].tolist()
            named = {"id": rows.request_ids[at], "row": int(rows.places[at]), "asked": rows.asked[at]}
            more = {"time": rows.times[at], "members": rows.members[at], "of": str(rows.version), "answers": answers}
            records.append({**named, **more, **cells})
    return pd.DataFrame(records)


def logged_of(folder: Path, request_id: str, rows: int = 1) -> pd.DataFrame:
    """Waits until all rows of a request are logged, and returns these in their order."""

    def found() -> pd.DataFrame:
        table = logged(folder)
        return table[table["id"] == request_id] if len(table) else table

    wait_until(lambda: len(found()) >= rows, lambda: f"{request_id}: {len(found())} of {rows} rows")
    table = found().sort_values("row")
    assert table["row"].tolist() == list(range(rows))
    return table


class LoggingServer(GrpcServer):
    """A server with a gRPC port."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predictions")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, folder: Path) -> Iterator[Server]:
    place = tmp_path_factory.mktemp("logging")
    store = scored_tables.make_store(place / "store")
    store.publish("towns", make_checkpoint(TOWNS, 8, seed=1))
    store.publish("towns", make_checkpoint(TOWNS, 8, seed=2))
    store.set_alias("towns", "production", 1)
    store.set_shadow("towns", "production", 2)
    kind: Any = LoggingServer
    settings = {"prediction_log": folder / "log", "prediction_log_seconds": 1}
    with running(store.root, place, kind, prediction_log_omit="secret_income", **settings) as server:
        yield server
        assert '"level": "error"' not in server.log(), server.log()


@pytest.fixture(scope="module")
def log_folder(server: Server, folder: Path) -> Path:
    return folder / "log"


def cells(row: Row) -> tuple[Any, Any]:
    return (None if pd.isna(row["age"]) else float(row["age"])), (None if pd.isna(row["town"]) else row["town"])


GIVEN: list[Row] = [
    {"age": 31.5, "town": "Rye", "secret_income": 987.25},
    {"age": None, "town": "Atlantis", "secret_income": 987.5},
    {"age": 0.1, "town": None, "secret_income": 1.0},
    {"age": 64, "town": " Åre", "secret_income": 2.0},
]
EXPECTED = [(31.5, "Rye"), (None, "Atlantis"), (float(np.float32(0.1)), None), (64.0, "Åre")]


def check(table: pd.DataFrame, answer: list[list[float]] | None = None) -> None:
    assert list(map(cells, table.to_dict("records"))) == EXPECTED
    if answer is not None:
        np.testing.assert_array_equal(np.array(table["answers"].tolist(), np.float32), np.array(answer, np.float32))


def test_json_is_logged_as_the_model_read_it(server: Server, log_folder: Path) -> None:
    before = datetime.now(UTC).timestamp()
    body = {"model": "towns@production", "instances": GIVEN}
    answer = http_post(f"{server.url}/predict", json=body, headers={"X-Request-ID": "json-1"}).json()
    table = logged_of(log_folder, "json-1", 4)
    check(table, answer["probabilities"])
    assert set(table["asked"]) == {"towns@production"}
    assert set(table["of"]) == {"towns@1"}
    assert table["members"].isna().all()
    assert before - 1 < table["time"].min() <= table["time"].max() < datetime.now(UTC).timestamp() + 1


def test_a_large_body_is_logged_alike(server: Server, log_folder: Path) -> None:
    body = {"model": "towns", "instances": GIVEN * 700}
    answer = http_post(f"{server.url}/predict", json=body, headers={"X-Request-ID": "large-1"}, timeout=60).json()
    table = logged_of(log_folder, "large-1", 2800)
    assert list(map(cells, table.to_dict("records"))) == EXPECTED * 700
    np.testing.assert_array_equal(np.array(table["answers"].tolist()), np.array(answer["probabilities"], np.float32))


def test_the_lane_logs_the_ids_that_clients_get(server: Server, log_folder: Path) -> None:
    def ask(client: httpx.Client, at: int) -> str:
        body = {"model": "towns@2", "instances": [{"age": at, "town": "Ely", "secret_income": 0}]}
        headers = {"X-Request-ID": f"lane-{at}"} if at % 2 else {}
        answer = client.post(f"{server.url}/predict", json=body, headers=headers)
        assert answer.json()["version"] == 2
        return answer.headers["X-Request-ID"]

    def many(worker: int) -> list[str]:
        with http_client() as client:
            return [ask(client, 100 * worker + at) for at in range(60)]

    with ThreadPoolExecutor(4) as pool:
        ids = [one for found in pool.map(many, range(4)) for one in found]
    wait_until(lambda: set(ids) <= set(logged(log_folder)["id"]))
    table = logged(log_folder).set_index("id").loc[ids]
    assert table["age"].tolist() == [100 * worker + at for worker in range(4) for at in range(60)]
    assert set(table["asked"]) == {"towns@2"}


def test_csv_and_arrow_are_logged(server: Server, log_folder: Path) -> None:
    table = pd.DataFrame(GIVEN)
    sink = io.BytesIO()
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    for name, body, kind in (
        ("arrow-1", sink.getvalue(), "application/vnd.apache.arrow.stream"),
        ("csv-1", table.to_csv(index=False).encode(), "text/csv"),
    ):
        headers = {"Content-Type": kind, "X-Request-ID": name, "Accept": "application/json"}
        answer = http_post(f"{server.url}/predict?model=towns@production", content=body, headers=headers)
        assert answer.status_code == 200, answer.text
        check(logged_of(log_folder, name, 4), answer.json()["probabilities"])


def test_the_open_inference_protocol_is_logged(server: LoggingServer, log_folder: Path) -> None:
    rows = [row for row in GIVEN if row["age"] is not None and row["town"] is not None]
    texts = [row["town"] for row in rows]
    inputs = [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [row["age"] for row in rows]},
        {"name": "town", "shape": [2], "datatype": "BYTES", "data": texts},
        {"name": "secret_income", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]},
    ]
    url = f"{server.url}/v2/models/towns/versions/1/infer"
    answer = http_post(url, json={"inputs": inputs}, headers={"X-Request-ID": "oip-1"})
    assert answer.status_code == 200, answer.text
    assert list(map(cells, logged_of(log_folder, "oip-1", 2).to_dict("records"))) == [EXPECTED[0], EXPECTED[3]]
    with server.client() as client:
        client.infer(
            "towns",
            tensor("age", "FP64", 2, contents={"fp64_contents": [row["age"] for row in rows]}),
            tensor("town", "BYTES", 2, contents={"bytes_contents": [text.encode() for text in texts]}),
            tensor("secret_income", "FP64", 2, contents={"fp64_contents": [1.0, 2.0]}),
            metadata=[("x-request-id", "grpc-1")],
        )
    assert list(map(cells, logged_of(log_folder, "grpc-1", 2).to_dict("records"))) == [EXPECTED[0], EXPECTED[3]]


def test_dates_large_values_and_members_are_logged(server: Server, log_folder: Path) -> None:
    moments = ["2015-03-01", "2024-02-29T13:00:00Z", None]
    rows = [
        {"age": 1, "height": 170.5, "town": "Ely", "floor": 2, "member": True, "joined": moment} for moment in moments
    ]
    body = {"model": "mixed", "instances": rows}
    answer = http_post(f"{server.url}/predict", json=body, headers={"X-Request-ID": "dates-1"}).json()
    table = logged_of(log_folder, "dates-1", 3)
    found = [None if pd.isna(one) else str(one)[:19] for one in table["joined"]]
    assert found == ["2015-03-01 00:00:00", "2024-02-29 13:00:00", None]
    assert table["floor"].tolist() == ["2"] * 3
    assert table["member"].tolist() == ["true"] * 3
    np.testing.assert_array_equal([one[0] for one in table["answers"]], answer["predictions"])
    body = {"model": "sizes", "instances": [[1, 2]], "members": 2}
    http_post(f"{server.url}/predict", json=body, headers={"X-Request-ID": "members-1"})
    assert logged_of(log_folder, "members-1")["members"].tolist() == [2]


@pytest.mark.parametrize("rows", [1, 1_000])
@pytest.mark.parametrize(("model", "members", "row"), [("sizes", 3, [0.25, 1.5]), ("towns@2", 1, GIVEN[0])])
def test_all_members_by_their_number_are_logged_as_all(
    server: Server, log_folder: Path, model: str, members: int, row: Any, rows: int
) -> None:
    name = f"all-of-{model}-{rows}"
    body = {"model": model, "instances": [row] * rows}
    usual = http_post(f"{server.url}/predict", json=body)
    answer = http_post(f"{server.url}/predict", json=body | {"members": members}, headers={"X-Request-ID": name})
    assert answer.status_code == 200, answer.text
    assert answer.json() == usual.json()
    assert logged_of(log_folder, name, rows)["members"].isna().all()


@pytest.mark.parametrize("binary", [True, False])
def test_the_parts_of_a_call_of_the_client_are_logged_as_one_table(
    server: Server, log_folder: Path, *, binary: bool
) -> None:
    name, rows = f"call-{binary}", np.random.default_rng(7).normal(size=(170, 2)).astype(np.float32)
    with axon.Client(server.url, binary=binary, rows_per_request=50) as client:
        answer = client.predict(rows, "sizes", request_id=name)
    table = logged_of(log_folder, name, len(rows))
    np.testing.assert_array_equal(table[["a", "b"]].to_numpy(np.float32), rows)
    expected = np.asarray(answer.probabilities, np.float32)
    np.testing.assert_array_equal(np.array(table["answers"].tolist(), np.float32), expected)


def test_the_rows_of_a_part_have_their_numbers_in_the_call_in_every_protocol(
    server: LoggingServer, log_folder: Path
) -> None:
    frame, sink = pd.DataFrame(GIVEN), io.BytesIO()
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    small = {"model": "towns@1", "instances": GIVEN}
    large = {"model": "towns@1", "instances": GIVEN * 300}
    table = "predict?model=towns@1"
    rows = [GIVEN[0], GIVEN[3]]
    inputs = [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [row["age"] for row in rows]},
        {"name": "town", "shape": [2], "datatype": "BYTES", "data": [row["town"] for row in rows]},
        {"name": "secret_income", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]},
    ]
    infer = {"inputs": inputs}
    for name, path, body, kind, of in (
        ("json", "predict", json.dumps(small).encode(), "application/json", EXPECTED),
        ("large", "predict", json.dumps(large).encode(), "application/json", EXPECTED * 300),
        ("csv", table, frame.to_csv(index=False).encode(), "text/csv", EXPECTED),
        ("arrow", table, sink.getvalue(), "application/vnd.apache.arrow.stream", EXPECTED),
        ("oip", "v2/models/towns/versions/1/infer", json.dumps(infer).encode(), "application/json", EXPECTED[::3]),
    ):
        for first in ({}, {"X-Axon-First-Row": str(len(of))}):
            headers = {"X-Request-ID": f"parts-{name}", "Content-Type": kind, **first}
            answer = http_post(f"{server.url}/{path}", content=body, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
        found = logged_of(log_folder, f"parts-{name}", 2 * len(of))
        assert list(map(cells, found.to_dict("records"))) == of * 2, name
    with server.client() as client:
        for first in ((), (("x-axon-first-row", "2"),)):
            client.infer(
                "towns",
                tensor("age", "FP64", 2, contents={"fp64_contents": [row["age"] for row in rows]}),
                tensor("town", "BYTES", 2, contents={"bytes_contents": [row["town"].encode() for row in rows]}),
                tensor("secret_income", "FP64", 2, contents={"fp64_contents": [1.0, 2.0]}),
                metadata=[("x-request-id", "parts-grpc"), *first],
            )
    assert list(map(cells, logged_of(log_folder, "parts-grpc", 4).to_dict("records"))) == EXPECTED[::3] * 2


def test_parts_of_one_row_do_not_take_the_lane(server: Server, log_folder: Path) -> None:
    ids = [f"part-{number}" for number in range(6)]
    with http_client() as client:
        for id_ in ids:  # from the third one on, the head would be known
            body, headers = {"model": "towns@1", "instances": GIVEN[:1]}, {"X-Request-ID": id_, "X-Axon-First-Row": "7"}
            assert client.post(f"{server.url}/predict", json=body, headers=headers).status_code == 200

    def found() -> pd.DataFrame:
        table = logged(log_folder)
        return table[table["id"].isin(ids)] if len(table) else table

    wait_until(lambda: len(found()) == len(ids))
    assert found()["row"].tolist() == [7] * len(ids)


@pytest.mark.parametrize(
    "wrong", ["", "-1", "+1", "1.5", "1e3", "0x1", "1_0", "1, 2", "2147483647", "2147483648", "9" * 50]
)
def test_a_first_row_that_is_no_number_is_refused(server: LoggingServer, wrong: str) -> None:
    said = "X-Axon-First-Row must be a whole number from 0 to 2147383648"  # 2**31 less the rows that a request may have
    body = {"model": "towns@1", "instances": GIVEN}
    answer = http_post(f"{server.url}/predict", json=body, headers={"X-Axon-First-Row": wrong})
    assert answer.status_code == 422, answer.text
    assert said in answer.json()["detail"]
    with server.client() as client, pytest.raises(grpc.RpcError, match=said) as refusal:
        client.infer("numbers", metadata=[("x-axon-first-row", wrong)])
    assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_refused_requests_explanations_and_shadows_are_not_logged(server: Server, log_folder: Path) -> None:
    bad = {"model": "towns@production", "instances": [*GIVEN, {"age": "old", "town": "Ely", "secret_income": 1}]}
    assert http_post(f"{server.url}/predict", json=bad, headers={"X-Request-ID": "bad-1"}).status_code == 422
    rows = {"model": "towns@production", "instances": GIVEN[:1]}
    explained = http_post(
        f"{server.url}/models/towns@production/explain",
        json={"instances": GIVEN[:1]},
        headers={"X-Request-ID": "explain-1"},
        timeout=30,
    )
    assert explained.status_code in (200, 422), explained.text
    http_post(f"{server.url}/predict", json=rows, headers={"X-Request-ID": "last-1"})
    logged_of(log_folder, "last-1")
    table = logged(log_folder)
    assert not set(table["id"]) & {"bad-1", "explain-1"}
    asked = table[table["asked"] == "towns@production"]
    assert set(asked["of"]) == {"towns@1"}, "the shadow's answers are in the log"
    assert not table.duplicated(["id", "row"]).any()


def test_requests_for_answers_that_the_model_lacks_are_refused_before_their_rows_are_computed(
    server: LoggingServer, log_folder: Path
) -> None:
    names, many = [f"x{at}" for at in range(4)], 3_000
    asked = 0

    def headers() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"X-Request-ID": f"lacking-{asked}"}

    with http_client() as client:
        for rows in (1, 1, 1, 2, many):  # the second request on a connection with a known head takes the lane
            tensors = [{"name": "rows", "datatype": "FP32", "shape": [rows, 4], "data": [rows / 7] * 4 * rows}]
            examples = [dict.fromkeys(names, rows / 7)] * rows
            for path, body in (
                ("v2/models/numbers/infer", {"inputs": tensors, "outputs": [{"name": "logits"}]}),
                ("v1/models/numbers:regress", {"examples": examples}),
            ):
                answer = client.post(f"{server.url}/{path}", json=body, headers=headers())
                assert answer.status_code == 400, answer.text
                assert "no output" in answer.text or "is a classifier" in answer.text
        moment = {"age": 1, "height": 170, "town": "Ely", "floor": "2", "member": "true", "joined": "2015-03-01"}
        for examples in ([moment], [moment] * 500):
            answer = client.post(
                f"{server.url}/v1/models/mixed:classify", json={"examples": examples}, headers=headers()
            )
            assert answer.status_code == 400, answer.text
            assert "is a regressor" in answer.text
    with server.client() as grpc_client:
        for rows in (1, 1, many):
            matrix = np.full((rows, 4), rows / 7, np.float32)
            with pytest.raises(grpc.RpcError, match="no output") as refusal:
                grpc_client.infer(
                    "numbers",
                    tensor("rows", "FP32", rows, 4),
                    raw=[matrix.tobytes()],
                    outputs=[{"name": "logits"}],
                    metadata=[("x-request-id", headers()["X-Request-ID"])],
                )
            assert refusal.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    body = {"model": "numbers", "instances": [[1, 2, 3, 4]]}
    assert http_post(f"{server.url}/predict", json=body, headers={"X-Request-ID": "last-2"}).status_code == 200
    logged_of(log_folder, "last-2")
    assert not [one for one in logged(log_folder)["id"] if one.startswith("lacking-")]
    rows = re.findall(
        r'^axon_batch_rows_sum\{model="numbers",.*\} (\S+)$', http_get(f"{server.url}/metrics").text, re.M
    )
    assert list(map(float, rows)) == [1], "rows of refused requests were computed"


def test_the_files_are_parquet_that_others_read_and_never_hold_what_is_left_out(
    server: Server, log_folder: Path
) -> None:
    http_post(
        f"{server.url}/predict",
        json={"model": "towns@1", "instances": GIVEN},
        headers={"X-Request-ID": "others-1"},
    )
    logged_of(log_folder, "others-1", 4)

    def tables() -> list[pa.Table]:
        return [pq.read_table(path) for path in log_folder.glob("towns@1/*.parquet")]

    waiting = True
    deadline = time.monotonic() + 4 * PATIENCE_SECONDS  # the conversion lets a busy machine's other work go first
    while waiting:
        assert time.monotonic() < deadline, server.log()
        time.sleep(0.2)
        with contextlib.suppress(FileNotFoundError):
            waiting = any(b"others-1" in path.read_bytes() for path in spools(log_folder))
    [table] = [table for table in tables() if "others-1" in table["request_id"].to_pylist()]
    assert table.column_names == [
        *("time", "request_id", "row", "model", "version", "asked", "members", "input.age", "input.town"),
        *("prediction", "probability.no", "probability.yes"),
    ]
    frame = table.to_pandas()
    frame = frame[frame["request_id"] == "others-1"].sort_values("row")
    assert frame["input.town"].fillna("").tolist() == ["Rye", "Atlantis", "", "Åre"]
    best = np.where(frame["probability.yes"] > frame["probability.no"], "yes", "no")
    assert frame["prediction"].tolist() == best.tolist()
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    files = [path for path in log_folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        data = path.read_bytes()
        if path.suffix == ".parquet":
            data += json.dumps(pq.read_table(path).to_pydict(), default=str).encode()
        assert b"secret_income" not in data
        assert np.float32(987.25).tobytes() not in data
        assert b"987.25" not in data


def test_the_metrics_count_the_rows(server: Server, log_folder: Path) -> None:
    rows = {"model": "towns@1", "instances": GIVEN}
    http_post(f"{server.url}/predict", json=rows, headers={"X-Request-ID": "counted-1"})
    logged_of(log_folder, "counted-1", 4)
    wait_until(lambda: metric_sum(server, "axon_prediction_log_rows_total") >= len(logged(log_folder)))
    text = http_get(f"{server.url}/metrics").text
    assert 'axon_prediction_log_rows_total{outcome="dropped",process="api-0"} 0.0' in text
    assert 'axon_prediction_log_rows_total{outcome="failed",process="api-0"} 0.0' in text
    assert 'axon_prediction_log_stopped{process="api-0"} 0.0' in text
