"""Drift over real servers: rows of each form count once, with one and with two API processes, and a shift is named."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from infer_bodies import HEADER_LENGTH, binary_tensor, element_bytes, with_bytes
from numpy.typing import NDArray
from serving import CHECKPOINTS, Server, http_get, http_post, metric_sum, running, wait_until

from models.checkpoint import load_checkpoint
from models.store import Store
from service.access import new_key
from training.fit import fit

COLUMNS = ("a", "b", "c", "d")
ALL_ROWS = {"drift_rows_per_second": 1_000_000}
ONE_WINDOW = {"drift_window_rows": 1_000_000, "drift_window_seconds": 3_600, **ALL_ROWS}
Matrix = NDArray[np.float64]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a classifier of four numbers, a model with categories, and one without distributions."""
    rng = np.random.default_rng(0)
    numbers = pd.DataFrame(rng.normal(size=(2_000, 4)), columns=list(COLUMNS))
    numbers["y"] = np.where(numbers["a"] + rng.normal(size=2_000) > 0, "yes", "no")
    mixed = pd.DataFrame({"x": rng.normal(size=2_000), "city": rng.choice(["Rome", "Oslo", "Lima"], 2_000)})
    mixed["y"] = mixed["x"] * 3 + (mixed["city"] == "Rome")
    mixed.loc[::50, "city"] = None
    store = Store(tmp_path_factory.mktemp("drift") / "store")
    fit(numbers, target="y", name="numbers", epochs=2).publish(store)
    fit(mixed, target="y", name="mixed", epochs=2).publish(store)
    store.publish("old", CHECKPOINTS["colours"])
    return store


@pytest.fixture(scope="module", params=[1, 2])
def served(store: Store, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one API process, and one with two; all rows are looked at, in one window."""
    folder = tmp_path_factory.mktemp("served")
    with running(store.root, folder, api_processes=request.param, **ONE_WINDOW) as server:
        yield server


def drift(server: Server, model: str, window: str = "current") -> dict[str, Any]:
    answer = http_get(f"{server.url}/models/{model}/drift", params={"window": window})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def rows_looked_at(server: Server, model: str) -> int:
    """Returns the number of rows of a model in the window that grows."""
    current = drift(server, model)["current"]
    return int(current["rows"]) if current else 0


def settled_rows(server: Server, model: str) -> int:
    """Returns the number of rows of a model once all API processes say the same, on several connections each."""
    found: list[int] = []

    def agree() -> bool:
        found.append(rows_looked_at(server, model))
        return len(found) >= 8 and len(set(found[-8:])) == 1

    wait_until(agree, lambda: str(found))
    return found[-1]


def normal(seed: int, rows: int) -> Matrix:
    return np.random.default_rng(seed).normal(size=(rows, 4))


def expect_ok(answer: Any) -> None:
    assert answer.status_code == 200, answer.text


def send_lists(server: Server, rows: Matrix) -> None:
    expect_ok(http_post(f"{server.url}/predict", json={"model": "numbers", "instances": rows.tolist()}))


def send_objects(server: Server, rows: Matrix) -> None:
    instances = [dict(zip(COLUMNS, row, strict=True)) for row in rows.tolist()]
    expect_ok(http_post(f"{server.url}/predict", json={"model": "numbers", "instances": instances}))


def send_columns(server: Server, rows: Matrix) -> None:
    """Sends a binary tensor for each column, by the Open Inference Protocol."""
    parts = [element_bytes("FP64", column) for column in rows.T.tolist()]
    inputs = [binary_tensor(name, "FP64", (len(rows),), len(part)) for name, part in zip(COLUMNS, parts, strict=True)]
    body, length = with_bytes({"inputs": inputs}, *parts)
    headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
    expect_ok(http_post(f"{server.url}/v2/models/numbers/infer", content=body, headers=headers))


def send_csv(server: Server, rows: Matrix) -> None:
    text = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False)
    expect_ok(
        http_post(f"{server.url}/predict?model=numbers", content=text.encode(), headers={"content-type": "text/csv"})
    )


def send_one_by_one(server: Server, rows: Matrix) -> None:
    """Sends each row alone on two connections that repeat their head: after the first, by the lane."""
    with_connections = [socket.create_connection(("127.0.0.1", server.port), timeout=30) for _ in range(2)]
    try:
        files = [connection.makefile("rb") for connection in with_connections]
        for at in range(0, len(rows), 2):
            for connection, row in zip(with_connections, rows[at : at + 2].tolist(), strict=False):
                body = json.dumps({"model": "numbers", "instances": [row]}).encode()
                head = (
                    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                )
                connection.sendall(head % len(body) + body)
            for file, _ in zip(files, rows[at : at + 2], strict=False):
                assert b" 200 " in file.readline()
                length = 0
                while (line := file.readline()) != b"\r\n":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                file.read(length)
        for file in files:
            file.close()
    finally:
        for connection in with_connections:
            connection.close()


SENDERS = {
    "lists": send_lists, "objects": send_objects, "columns": send_columns, "csv": send_csv, "lane": send_one_by_one,
}  # fmt: skip


@pytest.mark.parametrize("form", SENDERS)
def test_rows_of_each_form_are_counted_once(served: Server, form: str) -> None:
    before = settled_rows(served, "numbers")
    rows = normal(len(form), 300)
    for at in range(0, 300, 60):
        SENDERS[form](served, rows[at : at + 60])
    wait_until(lambda: rows_looked_at(served, "numbers") >= before + 300, lambda: str(drift(served, "numbers")))
    assert settled_rows(served, "numbers") == before + 300


def test_all_rows_of_a_large_request_are_counted(served: Server) -> None:
    before = settled_rows(served, "numbers")
    for at in range(3):
        send_lists(served, normal(at, 9_000))
    wait_until(lambda: rows_looked_at(served, "numbers") >= before + 27_000, lambda: str(drift(served, "numbers")))


@pytest.mark.parametrize("processes", [1, 2])
def test_the_counts_are_those_of_the_rows(store: Store, tmp_path: Path, processes: int) -> None:
    """Compares the shares of a window with those that pandas finds in the rows."""
    rng = np.random.default_rng(5)
    cities = np.where(rng.random(600) < 0.1, "Paris", rng.choice(["Rome", "Oslo", "Lima"], 600, p=[0.6, 0.2, 0.2]))
    frame = pd.DataFrame({"x": rng.normal(size=600), "city": cities})
    frame.loc[::20, "city"] = None
    with running(store.root, tmp_path, api_processes=processes, **ONE_WINDOW) as server:
        for at in range(0, 600, 30):
            cells = [
                [x, city if isinstance(city, str) else None] for x, city in frame[at : at + 30].to_numpy().tolist()
            ]
            expect_ok(http_post(f"{server.url}/predict", json={"model": "mixed", "instances": cells}))
        wait_until(lambda: rows_looked_at(server, "mixed") == 600, lambda: str(drift(server, "mixed")))
        assert settled_rows(server, "mixed") == 600
        wait_until(lambda: drift(server, "mixed")["current"]["rows"] == 600)
        document = drift(server, "mixed")
    features = {feature["name"]: feature for feature in document["features"]}
    edges = [-np.inf, *features["x"]["edges"], np.inf]
    expected = pd.cut(frame["x"], edges).value_counts(sort=False, normalize=True)
    assert features["x"]["window"] == pytest.approx(expected.to_numpy(), abs=1e-4)
    known = frame["city"][frame["city"].isin(["Rome", "Oslo", "Lima"])]
    shares = known.value_counts(normalize=True)
    assert features["city"]["window"] == pytest.approx(
        [shares[name] for name in features["city"]["categories"]], abs=1e-4
    )
    assert features["city"]["gaps"]["window"] == pytest.approx(frame["city"].isna().mean(), abs=1e-4)
    assert features["city"]["unknown"]["window"] == pytest.approx((frame["city"] == "Paris").mean(), abs=1e-4)
    assert features["city"]["gaps"]["training"] == pytest.approx(0.02, abs=0.01)
    assert document["verdict"] == "drift"
    assert "city" in document["flagged"]
    [value] = document["predictions"]
    assert value["kind"] == "value"
    assert sum(value["window"]) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_shift_is_named_and_its_absence_is_not(store: Store, tmp_path: Path, processes: int) -> None:
    settings = {"api_processes": processes, "drift_window_seconds": 45, "drift_window_rows": 2_000, **ALL_ROWS}
    with running(store.root, tmp_path, **settings) as server:
        number = -1
        for shift, verdict in ((0.0, "no_drift"), (0.5, "drift")):
            for at in range(40):
                rows = normal(100 + at, 50)
                rows[:, 2] += shift
                send_lists(server, rows)
            wait_until(lambda: drift(server, "numbers", "last")["last"] is not None)
            wait_until(lambda: drift(server, "numbers", "last")["last"]["number"] > number)  # noqa: B023
            document = drift(server, "numbers", "last")
            number = document["last"]["number"]
            assert document["last"]["rows"] == 2_000
            assert document["verdict"] == verdict, document["reason"]
            assert document["flagged"] == (["c"] if shift else [])
            wait_until(lambda: metric_sum(server, "axon_drift_window_rows") == 2_000)
            wait_until(lambda: metric_sum(server, "axon_drift_flagged") == len(document["flagged"]))  # noqa: B023
            # A process learns from the files of the others that a window has ended, and counts rows in it until then.
            wait_until(lambda: {drift(server, "numbers", "last")["last"]["number"] for _ in range(16)} == {number})  # noqa: B023


def test_a_checkpoint_without_distributions_says_so(served: Server) -> None:
    for model, verdict, said in (("old", "unavailable", "no distributions"), ("mixed", "too_few_rows", "")):
        document = drift(served, model)
        assert document["verdict"] == verdict
        assert said in document["reason"]
        assert document["features"] == []
    assert "Train the model again" in drift(served, "old")["reason"]
    text = http_get(f"{served.url}/models/old/drift", headers={"accept": "text/plain"})
    assert text.headers["content-type"].startswith("text/plain")
    assert text.text.startswith("old@1: unavailable\nThe checkpoint carries no distributions")


def test_the_table_for_terminals_has_a_line_for_each_variable(served: Server) -> None:
    send_lists(served, normal(1, 400))
    settled_rows(served, "numbers")
    text = http_get(f"{served.url}/models/numbers/drift?window=current", headers={"accept": "text/plain"}).text
    head, _, window, titles, rule, *lines = text.splitlines()
    assert re.fullmatch(r"numbers@1: (no drift|drift|too few rows)", head)
    assert "rows" in window
    assert titles.split() == ["Variable", "PSI", "Noise", "Threshold", "Gaps", "Outside", "Unknown"]
    assert set(rule) == {"─"}
    assert len(lines) == len(COLUMNS) + 2
    assert max(map(len, lines)) <= 80


def test_wrong_questions_get_problems(served: Server) -> None:
    for path, status in (("nobody/drift", 404), ("numbers/drift?window=next", 422), ("numbers@9/drift", 404)):
        answer = http_get(f"{served.url}/models/{path}")
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"


def test_drift_needs_the_key_of_the_models(store: Store, tmp_path: Path) -> None:
    secret, key = new_key("reader", "read")
    other, other_key = new_key("asker", "predict")
    with running(store.root, tmp_path, api_keys=f"{key} {other_key}") as server:
        url = f"{server.url}/models/numbers/drift"
        assert http_get(url).status_code == 401
        assert http_get(url, headers={"X-API-Key": other}).status_code == 403
        assert http_get(url, headers={"X-API-Key": secret}).status_code == 200


def test_drift_that_is_off_says_so(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, drift="false") as server:
        send_lists(server, normal(1, 400))
        assert drift(server, "numbers")["verdict"] == "unavailable"
        assert "AXON_DRIFT is off" in drift(server, "numbers")["reason"]
        assert "axon_drift" not in http_get(f"{server.url}/metrics").text


def test_the_gauges_end_with_the_version(store: Store, tmp_path: Path) -> None:
    own = Store(tmp_path / "own")
    checkpoint = load_checkpoint(store.version("numbers", 1).path).checkpoint
    for _ in range(2):
        own.publish("numbers", checkpoint)
    with running(own.root, tmp_path, drift_window_seconds=0.15, drift_window_rows=200, **ALL_ROWS) as server:
        body = {"model": "numbers@1", "instances": normal(3, 400).tolist()}

        def has_gauge() -> bool:
            expect_ok(http_post(f"{server.url}/predict", json=body))
            return 'axon_drift_psi{feature="a",model="numbers",version="1"}' in metrics(server)

        wait_until(has_gauge, lambda: metrics(server))
        version = own.version("numbers", 1).path.parent
        for path in version.iterdir():
            path.unlink()
        version.rmdir()
        wait_until(lambda: "axon_drift_psi{" not in metrics(server), lambda: metrics(server))


def metrics(server: Server) -> str:
    return http_get(f"{server.url}/metrics").text
