"""`POST /predict` with a table as its body: the answers of the same rows in JSON, within the same limits."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from models.columns.schema import CategoricalColumn, ClassTarget, Schema
from models.store import Store
from tests.serving import Server, make_checkpoint, numeric, running

ROWS = 2500
MOST_ROWS = 3000
CSV = {"Content-Type": "text/csv"}
SCHEMA = Schema(
    columns=(numeric("size"), CategoricalColumn(name="city", categories=("Köln", "Ulm"), unknown="ignore")),
    target=ClassTarget(name="y", labels=("no", "yes")),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("csv")
    store = Store(folder / "store")
    store.publish("towns", make_checkpoint(SCHEMA, 8, seed=1))
    store.publish("towns", make_checkpoint(SCHEMA, 8, seed=2))
    store.publish("others", make_checkpoint(SCHEMA, 8, seed=3))
    with running(store.root, folder, max_request_rows=MOST_ROWS) as server:
        yield server


def make_rows(rows: int) -> list[dict[str, Any]]:
    dice = random.Random(rows)
    return [{"size": round(dice.gauss(0, 1), 5), "city": dice.choice(["Köln", "Ulm", "Rom"])} for _ in range(rows)]


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    out = io.StringIO()
    writer = csv.DictWriter(out, ["y", "city", "size"])
    writer.writeheader()
    writer.writerows(row | {"y": "unknown as yet"} for row in rows)
    return out.getvalue().encode()


def ask(server: Server, body: bytes, model: str = "towns", **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", params={"model": model}, content=body, headers=CSV | headers, timeout=30)


@pytest.mark.parametrize("rows", [1, ROWS])
@pytest.mark.parametrize("model", ["towns", "towns@1"])
def test_the_answers_are_those_of_json(server: Server, rows: int, model: str) -> None:
    table = make_rows(rows)
    as_json = httpx.post(f"{server.url}/predict", json={"model": model, "instances": table}, timeout=30)
    for body, headers in ((as_csv(table), {}), (gzip.compress(as_csv(table)), {"Content-Encoding": "gzip"})):
        answer = ask(server, body, model, **headers)
        assert answer.status_code == 200, answer.text
        assert answer.json() == as_json.json()
        assert answer.headers.get("x-axon-unknown-columns") == as_json.headers.get("x-axon-unknown-columns")


def test_what_is_wrong_is_told_by_row_and_column(server: Server) -> None:
    answer = ask(server, b"city,size\nUlm,1\nUlm,one\n")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"row": 1, "column": "size", "message": '"one" is not a number'}]
    assert ask(server, as_csv(make_rows(MOST_ROWS + 1))).status_code == 413
    assert ask(server, b"city,size\nUlm,1\n", "nobody").status_code == 404


def test_a_query_that_would_be_passed_over_is_refused(server: Server) -> None:
    body = {"model": "towns", "instances": [make_rows(1)[0]]}
    assert httpx.post(f"{server.url}/predict?model=others", json=body).status_code in (400, 422)
    for query in ("model=towns&model=others", "modle=towns", "model=towns&rows=3"):
        answer = httpx.post(f"{server.url}/predict?{query}", content=as_csv(make_rows(1)), headers=CSV)
        assert answer.status_code in (400, 422), query
        assert "model" in answer.json()["detail"]


def test_without_a_default_the_model_has_to_be_named(server: Server) -> None:
    named = httpx.post(f"{server.url}/predict", json={"instances": make_rows(1)})
    unnamed = httpx.post(f"{server.url}/predict", content=as_csv(make_rows(1)), headers=CSV)
    assert unnamed.status_code == named.status_code
    assert unnamed.json()["detail"] == named.json()["detail"]
