"""`POST /predict` with JSON, CSV and Arrow, in and out: the same answers, by pyarrow, pandas, polars and curl."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pytest
from serving import ROOT, Oracle, Server, http_post, make_checkpoint, numeric, running

from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericTarget, Schema
from models.store import Store

ROWS = 2500
MOST_ROWS = 3000
JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
SCHEMA = Schema(
    columns=(
        numeric("size"),
        CategoricalColumn(name="city", categories=("Köln", "Ulm"), unknown="ignore", missing="ignore"),
        DateColumn(name="day", mean=19_000, std=300, minimum=18_000, maximum=20_000, parts=("month",), missing="mean"),
    ),
    target=ClassTarget(name="y", labels=("no", "a, b", "=1+1")),
)
VALUE = NumericTarget(name="price", mean=1.7e9, std=90, minimum=1.6e9, maximum=1.8e9, origin=1.7e9)
CHECKPOINTS = {
    "towns": make_checkpoint(SCHEMA, 8, seed=1),
    "prices": make_checkpoint(Schema(columns=SCHEMA.columns, target=VALUE), 8, seed=2),
    "numbers": make_checkpoint(
        Schema(columns=tuple(numeric(f"x{i}") for i in range(10)), target=ClassTarget(name="y", labels=(False, True))),
        8,
    ),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("arrow")
    store = Store(folder / "store")
    for name, checkpoint in CHECKPOINTS.items():
        store.publish(name, checkpoint)
    with running(store.root, folder, max_request_rows=MOST_ROWS, max_body_bytes=400_000) as server:
        yield server
        assert '"level": "error"' not in server.log(), server.log()


def make_rows(rows: int) -> list[dict[str, Any]]:
    dice = random.Random(rows)
    return [
        {
            "size": round(dice.gauss(0, 1), 3),
            "city": dice.choice(["Köln", "Ulm", "Rom", None]),
            "day": dice.choice(["2021-05-31", "2022-01-01T13:45:00", None]),
        }
        for _ in range(rows)
    ]


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    frame = pd.DataFrame(rows)
    frame["day"] = pd.to_datetime(frame["day"], format="ISO8601")
    frame["city"] = frame["city"].astype("category")
    frame["identifier"] = range(len(rows))
    return pa.Table.from_pandas(frame, preserve_index=False)


def stream_of(table: pa.Table) -> bytes:
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return out.getvalue()


def csv_of(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["day", "city", "size"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def ask(server: Server, kind: str, rows: list[dict[str, Any]], model: str, accept: str | None) -> httpx.Response:
    if kind == JSON:
        body, query = json.dumps({"model": model, "instances": rows}).encode(), ""
    else:
        body = stream_of(table_of(rows)) if kind == ARROW else csv_of(rows)
        query = f"?model={model}"
    headers = {"Content-Type": kind} | ({} if accept is None else {"Accept": accept})
    return http_post(f"{server.url}/predict{query}", content=body, headers=headers, timeout=30)


def read_answer(answer: httpx.Response) -> tuple[list[Any], list[list[float]]]:
    """Returns the predictions and probabilities of an answer of any kind."""
    kind = answer.headers["content-type"]
    if kind == JSON:
        document = answer.json()
        return document["predictions"], document.get("probabilities", [])
    if kind.startswith(CSV):
        head, *lines = csv.reader(io.StringIO(answer.content.decode(), newline=""))
        if len(head) == 1:
            return [float(line[0]) for line in lines], []
        return [line[0] for line in lines], [[float(cell) for cell in line[1:]] for line in lines]
    assert kind == ARROW
    table = pa.ipc.open_stream(answer.content).read_all()
    table.validate(full=True)
    probabilities = table["probabilities"].to_pylist() if "probabilities" in table.column_names else []
    return table["prediction"].to_pylist(), probabilities


@pytest.mark.parametrize("model", ["towns", "prices@1"])
@pytest.mark.parametrize("rows", [1, 3, ROWS])
def test_any_of_three_in_gives_any_of_three_out_with_the_same_numbers(server: Server, model: str, rows: int) -> None:
    table = make_rows(rows)
    oracle = Oracle(CHECKPOINTS[model.partition("@")[0]])
    expected = [oracle(row) for row in table[:20]]
    wanted = None
    for kind in (JSON, CSV, ARROW):
        for accept in (None, "*/*", JSON, CSV, ARROW, f"{ARROW}, */*;q=0.1"):
            answer = ask(server, kind, table, model, accept)
            assert answer.status_code == 200, answer.text
            out = next(kind for kind in (ARROW, CSV, JSON) if kind in (accept or JSON).replace("*/*", JSON))
            assert answer.headers["content-type"].partition(";")[0] == out
            assert ("accept" in answer.headers.get_list("vary", split_commas=True)) == (out != JSON)
            version = None if out == JSON else f"{model.partition('@')[0]}@1"
            assert answer.headers.get("x-axon-model") == version
            predictions, probabilities = read_answer(answer)
            found = predictions, np.float32(probabilities).tolist()
            wanted = wanted or found
            assert found == wanted, (kind, accept)
            unknown = sum(row["city"] == "Rom" for row in table)
            assert answer.headers.get("x-axon-unknown-categories") == (str(unknown) if unknown else None)
    values = wanted[1][:20] if wanted[1] else [[value] for value in wanted[0][:20]]
    assert np.allclose(values, expected, rtol=1e-5)


def test_numbers_without_gaps_are_answered_as_torch_does(server: Server) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(2000, 10)).astype(np.float32)
    oracle = Oracle(CHECKPOINTS["numbers"])
    for table in (
        pa.table({f"x{i}": matrix[:, i] for i in range(10)}),
        pa.table({f"x{9 - i}": pa.array(matrix[:, 9 - i], pa.float32()).cast(pa.float64()) for i in range(10)}),
    ):
        headers = {"Content-Type": ARROW, "Accept": ARROW}
        answer = http_post(f"{server.url}/predict?model=numbers", content=stream_of(table), headers=headers)
        answered = pa.ipc.open_stream(answer.content).read_all()
        probabilities = np.stack(answered["probabilities"].to_numpy())
        assert np.allclose(probabilities[:50], [oracle(row.tolist()) for row in matrix[:50]], atol=1e-5)
        assert answered["prediction"].to_pylist() == (probabilities[:, 1] > probabilities[:, 0]).tolist()
        assert answered.schema.metadata[b"model"] == b"numbers"


def test_a_frame_of_pandas_and_of_polars_is_sent_and_answered(server: Server) -> None:
    rows = make_rows(50)
    expected = ask(server, JSON, rows, "towns", None).json()
    streams = {"pandas": stream_of(table_of(rows))}
    if importlib.util.find_spec("polars") is not None:
        polars = importlib.import_module("polars")
        for kind in (polars.String, polars.Categorical):
            frame = polars.DataFrame(rows).with_columns(polars.col("city").cast(kind))
            out = io.BytesIO()
            frame.write_ipc_stream(out)
            streams[f"polars {kind}"] = out.getvalue()
    for name, body in streams.items():
        headers = {"Content-Type": ARROW, "Accept": ARROW}
        answer = http_post(f"{server.url}/predict?model=towns", content=body, headers=headers)
        assert answer.status_code == 200, f"{name}: {answer.text}"
        frame = pa.ipc.open_stream(answer.content).read_pandas()
        assert frame["prediction"].tolist() == expected["predictions"]
        assert np.array_equal(np.stack(frame["probabilities"]), np.float32(expected["probabilities"]))


def test_the_program_of_the_documentation_answers_a_table(server: Server) -> None:
    page = (ROOT / "docs/protocols.md").read_text(encoding="utf-8")
    [program] = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "arrow.stream" in code]
    names: dict[str, Any] = {}
    exec(program, names)
    rows = make_rows(20)
    answered = names["predict"](table_of(rows), f"{server.url}/predict?model=towns")
    assert answered["prediction"].to_pylist() == ask(server, JSON, rows, "towns", None).json()["predictions"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_table_and_gets_one(server: Server) -> None:
    rows = make_rows(30)
    command = ["curl", "-sS", "--fail", f"{server.url}/predict?model=towns", "--data-binary", "@-"]
    headers = ["-H", f"Content-Type: {CSV}", "-H", f"Accept: {CSV}"]
    done = subprocess.run([*command, *headers], input=csv_of(rows), capture_output=True, timeout=30, check=True)
    frame = pd.read_csv(io.BytesIO(done.stdout))
    expected = ask(server, JSON, rows, "towns", None).json()
    assert list(frame.columns) == ["prediction", "probability_no", "probability_a, b", "probability_=1+1"]
    assert frame["prediction"].tolist() == expected["predictions"]
    assert np.array_equal(frame.iloc[:, 1:].to_numpy(np.float32), np.float32(expected["probabilities"]))


def test_requests_of_all_formats_share_batches_and_not_their_answers(server: Server) -> None:
    rows = make_rows(40)
    expected = ask(server, JSON, rows, "towns", None).json()

    def one(at: int) -> tuple[list[Any], list[list[float]]]:
        row = at % len(rows)
        kind, accept = (JSON, CSV, ARROW)[at % 3], (JSON, CSV, ARROW)[at // 3 % 3]
        predictions, probabilities = read_answer(ask(server, kind, [rows[row]], "towns", accept))
        assert predictions == [expected["predictions"][row]]
        assert np.float32(probabilities).tolist() == np.float32([expected["probabilities"][row]]).tolist()
        return predictions, probabilities

    with ThreadPoolExecutor(16) as pool:
        assert len(list(pool.map(one, range(360)))) == 360


def test_a_plain_json_request_is_answered_in_any_format_again_and_again(server: Server) -> None:
    rows = make_rows(1)  # a head that comes again takes the lane for plain requests
    with httpx.Client(verify=False) as client:
        for accept in (CSV, ARROW, JSON):
            bodies = set()
            for _ in range(6):
                body = json.dumps({"model": "towns", "instances": rows}).encode()
                headers = {"Content-Type": JSON, "Accept": accept}
                answer = client.post(f"{server.url}/predict", content=body, headers=headers)
                assert answer.headers["content-type"].partition(";")[0] == accept
                bodies.add(answer.content)
            assert len(bodies) == 1


@pytest.mark.parametrize("kind", [JSON, CSV, ARROW])
def test_a_client_that_accepts_none_of_the_three_gets_406(server: Server, kind: str) -> None:
    answer = ask(server, kind, make_rows(1), "towns", "text/html, application/xml")
    assert (answer.status_code, answer.headers["content-type"]) == (406, "application/problem+json")
    assert answer.json()["type"] == "urn:axon:problem:not-acceptable"
    assert answer.json()["detail"] == (
        f"Answers are {JSON}, {CSV} or {ARROW}, and the request accepts 'text/html, application/xml'."
    )
    assert "Accept" in answer.headers.get_list("vary", split_commas=True)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "The body is not a valid Arrow stream: it is empty."),
        (b"size,city,day\n", 422, "does not begin with FF FF FF FF"),
        (stream_of(table_of(make_rows(2)))[:-30], 422, "it ends within a message"),
        (stream_of(table_of(make_rows(2)).drop_columns(["size"])), 422, "lacks 'size'"),
        (stream_of(table_of(make_rows(MOST_ROWS + 1))), 413, "more than 3,000 rows"),
        (
            stream_of(pa.table({"size": [1.0], "city": [["x"]], "day": [None]})),
            422,
            "column 'city': the Arrow type list",
        ),
        (stream_of(pa.table({"size": ["one"], "city": ["x"], "day": [None]})), 422, "is not a number"),
    ],
)
def test_what_is_wrong_is_told_in_a_problem_document(server: Server, body: bytes, status: int, said: str) -> None:
    headers = {"Content-Type": ARROW, "Accept": ARROW}
    answer = http_post(f"{server.url}/predict?model=towns", content=body, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_compressed_stream_is_read_within_the_limit_or_refused_by_the_name_of_the_extra(
    server: Server, codec: str
) -> None:
    rows = make_rows(100)

    def post(table: pa.Table) -> httpx.Response:
        out = io.BytesIO()
        with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
            writer.write_table(table)
        headers = {"Content-Type": ARROW}
        return http_post(f"{server.url}/predict?model=towns", content=out.getvalue(), headers=headers)

    answer = post(table_of(rows))
    if importlib.util.find_spec("lz4" if codec == "lz4" else "zstandard") is None:
        assert answer.status_code == 415
        assert "axon[service,arrow]" in answer.json()["detail"]
        return
    assert answer.json() == ask(server, JSON, rows, "towns", None).json()
    bomb = pa.table({"size": np.zeros(100_000), "city": pa.nulls(100_000), "day": pa.nulls(100_000)})
    refused = post(bomb)
    assert refused.status_code == 413
    assert "after decompression" in refused.json()["detail"]
