"""Figures and labels without a loss: large numbers, labels of 64 bits, dates, and the single unit of two classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import OpenPage, violations, wait_for
from serving import Server, http_get, http_post, make_checkpoint, numeric, running
from trying import code, opened, row_of, run_python, run_shell, settled

import axon
from models.checkpoint import Checkpoint
from models.columns.column import DateColumn, NumericColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.network.sequence import SequenceConfig, SequenceLayer
from models.store import Store
from training.fit import fit

LARGE = (2**53, 2**53 + 1, 2**53 + 2)
MANY = tuple(f"kind {at}" for at in range(40))
BEYOND = (10**18 + 1024, 10**18 + 2048)  # exact as floats
ACCOUNT = NumericColumn(name="account", mean=1e18, std=1e17, minimum=9e17, maximum=1.2e18)
FAR = NumericTarget(name="stamp", mean=1e8, std=1, minimum=1e8 - 3, maximum=1e8 + 3, origin=1e8)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DATE = DateColumn(name="day", mean=19_000, std=200, minimum=18_262, maximum=19_722.5, missing="mean")
WITHIN_A_DAY = DateColumn(name="moment", mean=19_000.5, std=0.2, minimum=19_000, maximum=19_001, parts=("hour",))
MOMENT = DateColumn(name="moment", mean=19_000, std=200, minimum=18_262.25, maximum=19_722.5, parts=("hour",))


def imported() -> Checkpoint:
    """Makes a model as an import of a LinearSVC does: columns of unknown range, and labels without probabilities."""
    columns = tuple(NumericColumn(name=name, mean=0, std=1, minimum=None, maximum=None) for name in ("width", "height"))
    layers = (SequenceLayer(name="one", kind="linear", out_features=3),)
    config = SequenceConfig(in_features=2, sequence=layers, output="argmax")
    tensors = {"one.weight": np.array([[1, 0], [0, 1], [-1, -1]], np.float32), "one.bias": np.zeros(3, np.float32)}
    target = ClassTarget(name="kind", labels=("red", "green", "blue"))
    return Checkpoint(config=config, schema=Schema(columns=columns, target=target), tensors=tensors)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("figures")
    store = Store(folder / "store")
    price = NumericTarget(name="price", mean=2, std=1, minimum=0, maximum=9)
    columns = (numeric("x1"), numeric("x2"))
    store.publish("large", make_checkpoint(Schema(columns=columns, target=ClassTarget(name="id", labels=LARGE)), 4))
    store.publish("dates", make_checkpoint(Schema(columns=(DATE, MOMENT, *columns), target=price), 4))
    fit("xor", engine="perceptron").publish(store, "perceptron")
    year = NumericColumn(name="year", mean=2019.5, std=0.2, minimum=2019.25, maximum=2019.75)
    store.publish("moments", make_checkpoint(Schema(columns=(WITHIN_A_DAY, *columns), target=price), 4))
    store.publish("imported", imported())
    table = pd.DataFrame(np.random.default_rng(2).normal(size=(200, 2)), columns=["x1", "x2"]).assign(y=range(200))
    waves: dict[str, Any] = {"hidden_sizes": (4,), "recipe": "classic", "epochs": 2, "progress": False}
    axon.fit(table, target="y", name="waves", frequencies=4, scale_inputs=True, **waves).publish(store)
    many = ClassTarget(name="kind", labels=MANY)
    store.publish("many", make_checkpoint(Schema(columns=columns, target=many), 4))
    accounts = Schema(columns=(*columns, ACCOUNT), target=price)
    rows = {"examples": [{"x1": 1, "x2": 2, "account": at} for at in BEYOND], "examples_kind": "rows"}
    store.publish("accounts", replace(make_checkpoint(accounts, 4), data=rows))
    store.publish("far", make_checkpoint(Schema(columns=(year, *columns), target=FAR), 4))
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


def test_a_column_of_numbers_beyond_2_to_the_53_is_answered(
    figures: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    page = opened(open_page, figures, "accounts")
    for number, account in enumerate(BEYOND, 1):
        page.get_by_role("button", name=f"Row {number}").click()
        settled(page)
        row = row_of(page)
        assert row | {"account": float(row["account"])} == {"x1": 1, "x2": 2, "account": float(account)}
        answer = http_post(f"{figures.url}/predict", json={"model": "accounts", "instances": [row]}).json()
        assert run_shell(code(page, "curl"), tmp_path) == answer
        inferred = run_shell(code(page, "Open Inference Protocol"), tmp_path)
        assert inferred["outputs"][0]["data"] == answer["predictions"]
        assert run_python(code(page, "Python"), tmp_path).startswith(str(answer["predictions"]))
    page.evaluate("location.hash = '#/models/accounts/decision?x=account&y=x1'")
    page.wait_for_selector(".plane canvas")
    assert page.locator(".square .dot").count() == len(BEYOND)
    page.get_by_label("Across").select_option("x2")
    wait_for(page, "document.querySelector('.x-name').textContent === 'x2'")


def test_values_far_from_zero_with_little_spread_are_told_apart(figures: Server, open_page: OpenPage) -> None:
    page = opened(open_page, figures, "far")
    settled(page)
    region = page.get_by_role("region", name="Answer")
    texts = []
    for x1 in ("-5", "5"):
        page.get_by_label("x1", exact=True).fill(x1)
        settled(page)
        [wanted] = http_post(f"{figures.url}/predict", json={"model": "far", "instances": [row_of(page)]}).json()[
            "predictions"
        ]
        texts.append(region.locator(".prediction").inner_text().split()[0])
        assert float(texts[-1].replace(",", "")) == pytest.approx(wanted, abs=1e-3, rel=0)
    assert texts[0] != texts[1]
    reasons = page.get_by_role("region", name="Reasons").inner_text()
    base, value = re.findall(r"[\d,]{10,}(?:\.\d+)?", reasons)
    assert value != base
    assert value == texts[1]
    assert "2,019.25 to 2,019.75" in page.locator(".cell").first.inner_text()
    assert "2,019.5" in page.locator(".reasons").inner_text()
    page.evaluate("location.hash = '#/models/far'")
    assert "2,019.25 to 2,019.75" in page.locator("table.columns tbody tr").first.inner_text()
    page.evaluate("location.hash = '#/models/far/decision'")
    page.wait_for_selector(".plane canvas")
    low, high = page.locator(".legend span:not(.scale)").all_inner_texts()
    assert low != high


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


def moment_of(page: Any, name: str) -> datetime:
    field = page.get_by_label(name, exact=True)
    assert field.get_attribute("type") == "datetime-local"
    return datetime.fromisoformat(field.input_value()).replace(tzinfo=UTC)


def test_a_slider_of_moments_has_places_within_a_day(figures: Server, open_page: OpenPage) -> None:
    page = opened(open_page, figures, "moments")
    begin = EPOCH + timedelta(days=WITHIN_A_DAY.minimum)
    slider = page.get_by_label("moment, slider")
    slider.focus()
    page.keyboard.press("Home")
    assert moment_of(page, "moment") == begin
    page.keyboard.press("ArrowRight")
    step = moment_of(page, "moment") - begin
    assert timedelta(0) < step <= timedelta(hours=1)
    with page.expect_request("**/predict") as asked:
        page.keyboard.press("ArrowRight")
    cell = datetime.fromisoformat(asked.value.post_data_json["instances"][0]["moment"])
    assert cell - begin == 2 * step
    page.keyboard.press("End")
    assert moment_of(page, "moment") == EPOCH + timedelta(days=WITHIN_A_DAY.maximum)


def test_a_typical_time_of_day_is_kept_as_one_at_midnight(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models").page

    def with_time(route: Any) -> None:
        answer = route.fetch()
        detail = answer.json()
        detail["example"]["instances"][0]["day"] = "2022-01-08T12:34:56Z"
        route.fulfill(response=answer, json=detail)

    page.route("**/models/dates", with_time)
    page.evaluate("location.hash = '#/models/dates/try'")
    page.wait_for_selector(".prediction")
    assert moment_of(page, "day").hour == 12
    page.get_by_label("day, slider").focus()
    page.keyboard.press("Home")
    assert moment_of(page, "day") == EPOCH + timedelta(days=DATE.minimum)
    page.keyboard.press("ArrowRight")
    assert moment_of(page, "day") - EPOCH - timedelta(days=DATE.minimum) == timedelta(hours=1)


def test_labels_without_probabilities_are_told_alone(figures: Server, open_page: OpenPage) -> None:
    page = opened(open_page, figures, "imported")
    settled(page)
    answer = page.get_by_role("region", name="Answer")
    [wanted] = http_post(f"{figures.url}/predict", json={"model": "imported", "instances": [row_of(page)]}).json()[
        "predictions"
    ]
    assert answer.locator(".prediction").inner_text().split()[0] == wanted
    assert answer.locator(".meters").count() == 0
    wait_for(page, "label => document.querySelector('[aria-live=polite]').textContent === label", wanted)
    page.evaluate("location.hash = '#/models/imported/decision'")
    page.wait_for_selector(".plane canvas")
    assert page.locator(".plane .reading").inner_text().split(": ")[1] in ("red", "green", "blue")


def test_a_plane_of_columns_of_unknown_range_has_no_frame(figures: Server, open_page: OpenPage) -> None:
    for model, is_known in (("imported", False), ("large", True)):
        page = open_page(f"{figures.url}/#/models/{model}/decision").page
        page.wait_for_selector(".plane canvas")
        assert page.locator(".square .range").count() == is_known
        assert page.get_by_text("The dashed frame is the range of training").count() == is_known
        assert page.get_by_text("The range of training is not known").count() == (not is_known)


def test_the_distribution_of_weights_is_named_after_them(figures: Server, open_page: OpenPage) -> None:
    page = open_page(f"{figures.url}/#/models/imported").page
    bars = page.get_by_role("region", name="Weights").locator("svg.bars")
    bars.first.wait_for()
    assert bars.first.get_attribute("aria-label").startswith("Distribution of the weights: ")


@pytest.mark.parametrize("present", [[3, 11, 12], [0, 8, 16, 24, 32, 1, 9, 17], range(5, 15), range(40)], ids=len)
def test_two_classes_of_a_plane_are_told_apart(figures: Server, open_page: OpenPage, present: Sequence[int]) -> None:
    page = open_page(f"{figures.url}/#/models").page
    stripes = [MANY[present[at % 64 * len(present) // 64]] for at in range(64 * 64)]
    page.route("**/predict", lambda route: route.fulfill(json={"model": "many", "version": 1, "predictions": stripes}))
    page.evaluate("location.hash = '#/models/many/decision'")
    page.wait_for_selector(".plane canvas")
    wait_for(page, "document.querySelector('canvas').width === 64")
    line = page.locator("canvas").evaluate("one => [...one.getContext('2d').getImageData(0, 9, 64, 1).data]")
    colours = [tuple(line[at : at + 3]) for at in range(0, len(line), 4)]
    legend = page.locator(".legend li")
    names = legend.all_inner_texts()
    swatches = [one.get_attribute("style") for one in page.locator(".legend .swatch").all()]
    if len(present) <= 8:
        assert len(set(colours)) == len(present)
        assert names == [MANY[at] for at in sorted(present)]
        assert len(set(swatches)) == len(present)
    else:
        edges = [at for at in range(63) if stripes[at] != stripes[at + 1]]
        assert len({colours[at] for at in edges}) == 1
        assert colours[edges[0]] not in [colour for at, colour in enumerate(colours) if at not in edges]
        assert names[16:] == ([f"and {len(present) - 16} more"] if len(present) > 16 else [])
        page.get_by_text(f"The plane has {len(present)} classes, and 8 colours").wait_for()
    assert violations(page) == []


def test_frequencies_are_not_drawn_as_values_of_inputs(figures: Server, open_page: OpenPage) -> None:
    document = http_get(f"{figures.url}/models/waves/network").json()
    [frequency] = [one for layer in document["layers"] for one in layer["tensors"] if one["name"] == "frequency"]
    assert len(frequency["values"]) == len(document["inputs"]), "as many, by chance"
    page = open_page(f"{figures.url}/#/models/waves").page
    texts = read_all(page)
    assert not [text for text in texts if "frequency" in text or "phase" in text]
    assert len([text for text in texts if text.startswith("weight of Scale")]) == len(document["inputs"])
