"""Categories that training did not see are answered, counted and reported, or refused with 422 by the model."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from models.store import Store
from tests.serving import Server, metric_sum, running, wait_until
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.fitted_model import FittedModel

ODD_NAME = "Straße, 1"
CELLS, COLUMNS = "X-Axon-Unknown-Categories", "X-Axon-Unknown-Columns"


@pytest.fixture(scope="module")
def fitted() -> dict[str, FittedModel]:
    rows = 90
    frame = pd.DataFrame(
        {
            "city": [["Köln", " Bonn", "Ulm"][i % 3] for i in range(rows)],
            ODD_NAME: [bool(i // 3 % 2) for i in range(rows)],
            "size": [float(i % 7) for i in range(rows)],
            "price": [float(i % 3 + 2 * (i // 3 % 2) + i % 7) for i in range(rows)],
        }
    )
    settings: dict[str, Any] = {"target": "price", "epochs": 3, "hidden_sizes": (8,)}
    return {
        "open": fit(frame, name="open", **settings),
        "strict": fit(frame, name="strict", choices=ColumnChoices(unknown="refuse"), **settings),
    }


@pytest.fixture(scope="module")
def server(fitted: dict[str, FittedModel], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("unknown")
    for model in fitted.values():
        model.publish(folder / "store")
    assert Store(folder / "store").names() == ["open", "strict"]
    with running(folder / "store", Path(folder)) as server:
        yield server


def ask(server: Server, model: str, *rows: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", json={"model": model, "instances": rows}, timeout=30)


def row(city: Any, flag: Any = True) -> dict[str, Any]:
    return {"city": city, ODD_NAME: flag, "size": 1.0}


def test_known_cells_in_any_spelling_are_answered_alike_and_tell_nothing(server: Server) -> None:
    plain = ask(server, "open", row("Köln"), row("Bonn", False))
    other = ask(server, "open", row(" Ko\u0308ln\u200b", "TRUE"), {f" {ODD_NAME}": "False", "size": 1, "city": "Bonn "})
    assert plain.status_code == other.status_code == 200
    assert plain.content == other.content
    assert CELLS not in plain.headers
    assert CELLS not in other.headers


@pytest.mark.parametrize("times", [1, 100], ids=["by cells", "by columns"])
def test_unknown_cells_are_answered_counted_and_told(
    server: Server, fitted: dict[str, FittedModel], times: int
) -> None:
    rows = [row("Atlantis"), row("Ulm"), row("Atlantis", "maybe"), row(7)] * times
    before = metric_sum(server, "axon_unknown_categories_total")
    answer = ask(server, "open", *rows)
    assert answer.status_code == 200
    assert answer.json()["predictions"] == pytest.approx(fitted["open"].predict(rows), rel=1e-5)
    assert answer.headers[CELLS] == str(4 * times)
    assert answer.headers[COLUMNS] == f"city={3 * times}, Stra%C3%9Fe%2C%201={times}"
    wait_until(lambda: metric_sum(server, "axon_unknown_categories_total") == before + 4 * times)
    text = httpx.get(f"{server.url}/metrics").text
    assert 'axon_unknown_categories_total{model="open",version="1"}' in text
    assert "Atlantis" not in text
    assert CELLS not in ask(server, "open", row("Ulm")).headers, "the next request begins anew"


@pytest.mark.parametrize("times", [1, 100])
def test_rows_that_are_refused_are_not_counted(server: Server, times: int) -> None:
    before = metric_sum(server, "axon_unknown_categories_total")
    answer = ask(server, "open", *[row("Atlantis")] * times, row([]))
    assert answer.status_code == 422
    assert CELLS not in answer.headers
    assert CELLS not in ask(server, "open", row("Ulm")).headers
    assert metric_sum(server, "axon_unknown_categories_total") == before


def test_requests_that_are_read_side_by_side_are_told_their_own_cells(server: Server) -> None:
    def told(unknown: int) -> tuple[str | None, str | None]:
        rows = [row(f"new {i}") for i in range(unknown)] + [row("Ulm"), row(None) | {"city": "Bonn"}] * 1500
        answer = ask(server, "open", *rows)
        assert answer.status_code == 200
        return answer.headers.get(CELLS), answer.headers.get(COLUMNS)

    with ThreadPoolExecutor(8) as pool:
        counts = [0, 7, 1, 400, 33, 0, 2, 90] * 3
        expected = [(str(n), f"city={n}") if n else (None, None) for n in counts]
        assert list(pool.map(told, counts)) == expected


def test_a_model_that_refuses_names_row_and_column(server: Server) -> None:
    assert ask(server, "strict", row("Köln"), row("Bonn")).status_code == 200
    answer = ask(server, "strict", row("Köln"), row("Atlantis"))
    assert answer.status_code == 422
    [fault] = answer.json()["errors"]
    assert (fault["row"], fault["column"]) == (1, "city")
    assert fault["message"].startswith('"Atlantis" is not a category of this column')
