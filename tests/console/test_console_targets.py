"""Views of a model with several targets: the values, the reasons and the plane of a chosen one, and its metrics."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import OpenPage, violations, wait_for
from serving import SEVERAL, Server, http_post, make_checkpoint, numeric, running
from trying import row_of

from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.conformal import Conformal
from models.store import Store

NAMES = ["rent", "sold", "cost"]
FIGURES = {"rent": 1.5, "sold": 2_500_000, "cost": 0.0125}
METRICS = {"r2": 0.5, "rmse": 0.75, "targets": {name: {"rmse": rmse, "r2": 0.5} for name, rmse in FIGURES.items()}}
SCORES = np.array([np.linspace(0.01, most, 99).round(8) for most in (3.0, 2e6, 0.1)])


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("targets")
    schema = Schema(columns=(numeric("area"), numeric("rooms")), target=SEVERAL)
    checkpoint = make_checkpoint(schema, 8, clamp=True)
    store = Store(folder / "store")
    store.publish("houses", replace(checkpoint, conformal=Conformal(99, SCORES), metrics={"test": METRICS}))
    shares = ValuesTarget(
        targets=tuple(NumericTarget(name=name, mean=0, std=1, minimum=0, maximum=1) for name in ("rain", "wind"))
    )
    made = make_checkpoint(replace(schema, target=shares), 8)
    labels = {"accuracy": 0.75, "targets": {name: {"accuracy": 0.75} for name in ("rain", "wind")}}
    logistic = replace(made, config=replace(made.config, output="logistic"), metrics={"test": labels})
    store.publish("labels", logistic)
    for name in ("rent", "price"):
        target = NumericTarget(name=name, mean=9, std=2, minimum=1, maximum=20)
        store.publish(f"one-{name}", make_checkpoint(replace(schema, target=target), 8))
    with running(store.root, folder) as server:
        yield server


def answer_of(server: Server, row: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = http_post(
        f"{server.url}/predict", json={"model": "houses", "instances": [row], **more}
    ).json()
    return found


def number_in(text: str) -> float:
    return float(text.replace(",", ""))


def test_the_answer_lists_the_values_and_reasons_are_those_of_the_chosen_target(
    several: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{several.url}/#/models/houses/try").page
    answers, reasons = page.get_by_role("region", name="Answer"), page.get_by_role("region", name="Reasons")
    settled = "document.querySelector('.reasons') && !document.querySelector('.stale')"
    wait_for(page, settled)
    page.get_by_label("Interval").select_option("0.9")
    wait_for(page, "document.querySelectorAll('.answers td').length === 6")
    row = row_of(page)
    answer = answer_of(several, row, intervals=0.9)
    lines = answers.locator("tbody tr").all()
    assert [line.locator("th").inner_text() for line in lines] == NAMES
    for at, line in enumerate(lines):
        value, interval = (cell.inner_text() for cell in line.locator("td").all())
        assert number_in(value) == pytest.approx(answer["predictions"][0][at], rel=1e-2)
        bounds = [number_in(bound) for bound in interval.split(" to ")]
        assert bounds == pytest.approx(answer["intervals"][0][at], rel=1e-2, abs=1e-4)
    for name in ("rent", "cost"):
        page.get_by_label("Target").select_option(name)
        wait_for(page, f"document.body.innerText.includes('Value of {name}:') && {settled}")
        [told] = http_post(f"{several.url}/models/houses/explain", json={"instances": [row], "output": name}).json()[
            "explanations"
        ]
        found = [number_in(text) for text in reasons.locator(".meter-value").all_inner_texts()]
        assert found == pytest.approx([reason["contribution"] for reason in told["reasons"]], rel=2e-2, abs=1e-9)
    assert violations(page) == []


def test_a_file_comes_back_with_a_column_for_each_target(several: Server, open_page: OpenPage) -> None:
    page = open_page(f"{several.url}/#/models/houses/try").page
    text = "area,rooms,prediction_rent\n1,2,kept\n-0.5,3,kept\n"
    page.locator("input[type=file]").set_input_files(
        {"name": "rows.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    path = download.value.path()
    assert path is not None
    rows = list(csv.DictReader(io.StringIO(Path(path).read_text())))
    assert list(rows[0])[2:] == ["prediction_rent", "prediction_rent_2", "prediction_sold", "prediction_cost"]
    answer = answer_of(several, [1, 2])["predictions"][0]
    assert [float(rows[0][name]) for name in list(rows[0])[3:]] == answer


def test_the_plane_is_that_of_the_chosen_target(several: Server, open_page: OpenPage) -> None:
    page = open_page(f"{several.url}/#/models/houses/decision?target=cost&beside=one-rent").page
    wait_for(page, "document.querySelectorAll('canvas').length === 1")
    assert "one-rent has other targets." in page.inner_text("body")
    square = page.locator(".square").first

    def reading() -> tuple[list[float], float]:
        place, value = page.locator(".reading").first.inner_text().split(": ")
        return [number_in(text) for text in place.split(", ")], number_in(value)

    for name in ("cost", "rent"):
        page.get_by_label("Target").select_option(name)
        wait_for(page, f"location.hash.includes('target={name}')")
        square.focus()
        page.keyboard.press("ArrowRight")
        row, value = reading()
        wanted = answer_of(several, row)["predictions"][0][NAMES.index(name)]
        scale = SEVERAL.targets[NAMES.index(name)].std
        assert value == pytest.approx(wanted, rel=1e-3, abs=0.01 * scale)
    wait_for(page, "document.querySelectorAll('canvas').length === 2", None)
    page.get_by_label("Beside").select_option("one-price")
    wait_for(page, "document.body.innerText.includes('one-price has other targets.')")
    assert violations(page) == []


def test_the_model_page_names_targets_and_their_metrics(several: Server, open_page: OpenPage) -> None:
    page = open_page(f"{several.url}/#/models/houses").page
    region = page.get_by_role("region", name="Metrics")
    region.wait_for()
    assert "3 numbers: rent, sold, cost" in page.get_by_role("region", name="About").inner_text()
    whole, by_target = region.locator("table").all()
    assert whole.locator("tbody th").all_inner_texts() == ["R²", "RMSE"]
    lines = {
        line.locator("th").inner_text(): line.locator("td").last.inner_text()
        for line in by_target.locator("tbody tr").all()
    }
    assert {name: number_in(text) for name, text in lines.items()} == FIGURES
    assert violations(page) == []
    open_page(f"{several.url}/#/models/one-rent").page.get_by_role("region", name="About").wait_for()


@pytest.mark.parametrize(
    ("model", "units"),
    [
        ("houses", "In the unit of each target; above, errors are in its standard deviations."),
        ("labels", "Above are the means of the targets."),
    ],
)
def test_the_units_of_the_metrics_are_those_of_the_targets(
    several: Server, open_page: OpenPage, model: str, units: str
) -> None:
    page = open_page(f"{several.url}/#/models/{model}").page
    region = page.get_by_role("region", name="Metrics", exact=True)
    region.wait_for()
    assert region.locator("p.muted").all_inner_texts() == [units]
