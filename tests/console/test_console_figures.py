"""Figures and labels without a loss: large numbers, labels of 64 bits, dates, and the single unit of two classes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browsing import OpenPage, wait_for
from serving import Server, http_get, http_post, make_checkpoint, numeric, running
from trying import opened, row_of, settled

from models.columns.column import DateColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.store import Store
from training.fit import fit

LARGE = (2**53, 2**53 + 1, 2**53 + 2)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DATE = DateColumn(name="day", mean=19_000, std=200, minimum=18_262, maximum=19_722.5, missing="mean")
MOMENT = DateColumn(name="moment", mean=19_000, std=200, minimum=18_262.25, maximum=19_722.5, parts=("hour",))


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("figures")
    store = Store(folder / "store")
    price = NumericTarget(name="price", mean=2, std=1, minimum=0, maximum=9)
    columns = (numeric("x1"), numeric("x2"))
    store.publish("large", make_checkpoint(Schema(columns=columns, target=ClassTarget(name="id", labels=LARGE)), 4))
    store.publish("dates", make_checkpoint(Schema(columns=(DATE, MOMENT, *columns), target=price), 4))
    fit("xor", engine="perceptron").publish(store, "perceptron")
    with running(store.root, folder) as server:
        yield server


def test_labels_of_64_bits_keep_all_digits(figures: Server, open_page: OpenPage) -> None:
    page = opened(open_page, figures, "large")
    settled(page)
    answer = http_post(f"{figures.url}/predict", json={"model": "large", "instances": [row_of(page)]}).json()
    region = page.get_by_role("region", name="Answer")
    assert region.locator(".meter-name").all_inner_texts() == [str(label) for label in LARGE]
    [wanted] = answer["predictions"]
    assert region.locator(".prediction").inner_text().split()[0] == str(wanted)
    assert region.locator(".marked .meter-name").all_inner_texts() == [str(wanted)]
    page.evaluate("location.hash = '#/models/large/decision'")
    page.wait_for_selector(".plane canvas")
    assert page.locator(".legend li").all_inner_texts() == [str(label) for label in LARGE]
    told = page.locator(".plane .reading").inner_text().split(": ")[1].split(",")[0]
    assert int(told) in LARGE


def written(days: float, *, hours: bool = False) -> str:
    moment = EPOCH + timedelta(days=days)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") if hours else moment.strftime("%Y-%m-%d")


def test_dates_without_distributions_are_written_as_dates(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models/dates").page
    table = page.locator("table.columns tbody tr")
    table.first.wait_for()
    seen = [row.locator("td").first.inner_text() for row in table.all()]
    assert seen[0] == f"{written(DATE.minimum)} to {written(DATE.maximum)}"
    assert seen[1] == f"{written(MOMENT.minimum, hours=True)} to {written(MOMENT.maximum, hours=True)}"
    assert seen[2] == "-5 to 5"


def test_a_date_that_is_missing_in_the_typical_row_becomes_a_date(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models").page

    def without_day(route: Any) -> None:
        answer = route.fetch()
        detail = answer.json()
        detail["example"]["instances"][0]["day"] = None
        route.fulfill(response=answer, json=detail)

    page.route("**/models/dates", without_day)
    page.evaluate("location.hash = '#/models/dates/try'")
    page.wait_for_selector(".prediction")
    assert page.get_by_label("day is missing").is_checked()
    with page.expect_request("**/predict") as asked:
        page.get_by_label("day is missing").uncheck()
    assert asked.value.post_data_json["instances"][0]["day"] == written(DATE.mean)
    wait_for(page, "!document.querySelector('.fault')")


def read_all(page: Any) -> list[str]:
    page.locator(".drawing").focus()
    page.keyboard.press("Home")
    texts: list[str] = []
    while not texts or texts[-1] != page.locator(".reading").inner_text():
        texts.append(page.locator(".reading").inner_text())
        page.keyboard.press("ArrowRight")
    return texts


def test_the_single_unit_of_a_perceptron_is_that_of_its_second_class(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models/perceptron").page
    page.wait_for_selector(".drawing svg")
    document = http_get(f"{figures.url}/models/perceptron/network").json()
    first, second = document["outputs"]
    assert document["layers"][0]["out_features"] == 1
    named = {re.sub(r": \S+$", "", text) for text in read_all(page)}
    assert f"Bias of {second}" in named
    assert {f"Weight {name} → {second}" for name in document["inputs"]} <= named
    assert not any(text.endswith((f"of {first}", f"→ {first}")) for text in named)
    assert page.locator(".drawing text.label").all_text_contents().count(str(second)) == 1


def test_the_plane_of_a_perceptron_tells_no_probability(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models/perceptron/decision?beside=large").page
    wait_for(page, "document.querySelectorAll('.plane .reading').length === 2")
    step, network = page.locator(".plane .reading").all_inner_texts()
    classes = http_get(f"{figures.url}/models/perceptron").json()["classes"]
    assert step.split(": ")[1] in map(str, classes)
    assert network.endswith("%")
