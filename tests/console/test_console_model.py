"""The page of a model in a real browser, against the checkpoint that the page is about."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import OpenPage, wait_for
from serving import Server, http_get, running

from models.network.summary import summarize
from models.store import Store


def opened(open_page: OpenPage, server: Server, model: str, **options: Any) -> Any:
    page = open_page(f"{server.url}/#/models/{model}", **options).page
    page.wait_for_selector(".drawing svg")
    return page


def reading(page: Any) -> str:
    return str(page.locator(".reading").inner_text())


def section(page: Any, title: str) -> Any:
    return page.get_by_role("region", name=title, exact=True)


def read_all(page: Any) -> list[str]:
    """Reads the drawing part by part with the arrow keys."""
    page.locator(".drawing").focus()
    page.keyboard.press("Home")
    texts = [reading(page)]
    while True:
        page.keyboard.press("ArrowRight")
        if (text := reading(page)) == texts[-1]:
            return texts
        texts.append(text)


def written(value: float) -> float:
    """Returns a value with the four significant digits of the page."""
    return float(f"{value:.3e}")


def test_the_arrow_keys_read_the_46_parameters_of_a_3_4_4_2_network(
    console: Server, demo_store: Store, open_page: OpenPage
) -> None:
    page = opened(open_page, console, "textbook@1")
    tensors = demo_store.load("textbook@1").checkpoint.tensors
    texts = read_all(page)
    assert len(texts) == 46
    expected = {}
    for layer, (inputs, outputs) in enumerate([(3, 4), (4, 4), (4, 2)]):
        for unit in range(outputs):
            to = ["no", "yes"][unit] if layer == 2 else f"unit {unit + 1} of layer {layer + 1}"
            expected[f"Bias of {to}"] = tensors[f"layers.{layer}.bias"][unit]
            for source in range(inputs):
                begin = f"x{source + 1}" if layer == 0 else f"unit {source + 1} of layer {layer}"
                expected[f"Weight {begin} → {to}"] = tensors[f"layers.{layer}.weight"][unit, source]
    found = dict(text.rsplit(": ", 1) for text in texts)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert float(found[name].replace(",", "")) == pytest.approx(written(float(value)), rel=2e-3), name
    assert page.get_by_text("46 parameters: each line is a weight, each ring a bias.").count() == 1


def test_pointing_at_a_line_reads_it_and_its_look_is_its_weight(
    console: Server, demo_store: Store, open_page: OpenPage
) -> None:
    page = opened(open_page, console, "textbook@1")
    weights = demo_store.load("textbook@1").checkpoint.tensors["layers.0.weight"]
    lines = page.locator(".drawing line.link")
    assert lines.count() == 36
    widths = [float(lines.nth(at).get_attribute("stroke-width")) for at in range(12)]
    order = np.argsort([abs(weight) for weight in weights.reshape(-1)])
    assert list(np.argsort(widths)) == list(order), "a line is as thick as its weight"
    for at, weight in enumerate(weights.reshape(-1)):
        assert ("negative" in lines.nth(at).get_attribute("class")) == (weight < 0)
    x1, y1, x2, y2 = (float(lines.nth(0).get_attribute(name)) for name in ("x1", "y1", "x2", "y2"))
    box = page.locator(".drawing svg").bounding_box()
    page.mouse.move(box["x"] + x1 + 0.2 * (x2 - x1), box["y"] + y1 + 0.2 * (y2 - y1))
    wait_for(page, "document.querySelector('.reading').textContent.startsWith('Weight x1 →')")
    circle = page.locator(".drawing circle").nth(3).bounding_box()  # the first hidden unit
    page.mouse.move(circle["x"] + circle["width"] / 2, circle["y"] + circle["height"] / 2)
    wait_for(page, "document.querySelector('.reading').textContent.startsWith('Bias of unit 1 of layer 1')")


def test_a_member_of_an_ensemble_is_chosen(console: Server, demo_store: Store, open_page: OpenPage) -> None:
    page = opened(open_page, console, "ensemble")
    checkpoint = demo_store.load("ensemble").checkpoint
    if page.get_by_label("Member").count() == 0:
        pytest.skip("the network is drawn by layers")
    page.get_by_label("Member").select_option("2")
    last = f"layers.{len(checkpoint.config.hidden_sizes)}.bias"
    texts = read_all(page)
    biases = [float(text.rsplit(": ", 1)[1]) for text in texts if text.startswith("Bias of x3")]
    assert biases == [pytest.approx(written(float(checkpoint.tensors[last][2, 0])), rel=2e-3)]


def test_the_weights_of_members_are_shown(
    demo_store: Store, open_page: OpenPage, tmp_path: Path, console: Server
) -> None:
    checkpoint = demo_store.load("ensemble").checkpoint
    weighted = replace(checkpoint, config=replace(checkpoint.config, member_weights=(3, 3, 2)))
    store = Store(tmp_path / "store")
    store.publish("weighted", weighted)
    with running(store.root, tmp_path) as server:
        page = opened(open_page, server, "weighted")
        assert re.search(r"Members\s+3, weighted 2 × 37.5 %, 1 × 25 %\n", section(page, "About").inner_text())
        options = page.get_by_label("Member").locator("option").all_inner_texts()
        assert options == ["1 of 3, weight 37.5 %", "2 of 3, weight 37.5 %", "3 of 3, weight 25 %"]
    page = opened(open_page, console, "ensemble")
    assert re.search(r"Members\s+3, weighted equally\n", section(page, "About").inner_text())
    page = opened(open_page, console, "iris")
    assert "Members" not in section(page, "About").inner_text()


def test_the_tables_are_those_of_the_checkpoint(console: Server, demo_store: Store, open_page: OpenPage) -> None:
    page = opened(open_page, console, "iris")
    checkpoint = demo_store.load("iris").checkpoint
    summary = summarize(checkpoint.config)
    layers = section(page, "Layers").inner_text()
    for layer in summary.layers:
        assert re.search(rf"{re.escape(layer.name)}\s+{layer.type}\s", layers)
    assert f"{summary.total_params:,}" in layers
    for name, tensor in checkpoint.tensors.items():
        row = section(page, "Weights").locator("tr", has=page.get_by_text(name, exact=True))
        shown = float(row.locator("td").nth(2).inner_text())
        assert shown == pytest.approx(tensor.astype(np.float64).std(), rel=1e-3), name
    columns = section(page, "Columns").inner_text()
    for column in checkpoint.schema.columns:
        assert column.name in columns
    assert section(page, "Columns").locator("svg.bars").count() >= len(checkpoint.schema.columns)
    metrics = section(page, "Metrics").inner_text()
    assert f"{checkpoint.metrics['test']['accuracy']:.4g}" in metrics
    assert section(page, "Learning curve").locator("polyline").count() == len(checkpoint.training["history"])


def test_versions_stand_side_by_side(console: Server, open_page: OpenPage) -> None:
    page = opened(open_page, console, "textbook")
    versions = section(page, "Versions side by side")
    versions.locator("thead th").nth(2).wait_for()
    assert [one.inner_text() for one in versions.locator("thead th").all()] == ["Version", "2", "1"]
    row = versions.locator("tbody tr", has_text="Log loss, test").locator("td").all()
    for cell, version in zip(row, (2, 1), strict=True):
        metrics = http_get(f"{console.url}/models/textbook@{version}").json()["metrics"]["test"]
        assert float(cell.inner_text()) == pytest.approx(metrics["log_loss"], rel=1e-3)
    versions.get_by_label("1", exact=True).uncheck()
    assert versions.locator("thead th").count() == 2


def test_the_card_is_shown_as_text_with_tables(console: Server, demo_store: Store, open_page: OpenPage) -> None:
    page = opened(open_page, console, "textbook@1")
    card = demo_store.version("textbook", 1).path.parent / "README.md"
    page.get_by_text("Read the card").click()
    shown = section(page, "Model card")
    headings = re.findall(r"^## (.*)$", card.read_text(), re.MULTILINE)
    assert [one.inner_text() for one in shown.locator("h3").all()] == headings
    tables = len(re.findall(r"^\| --- ", card.read_text(), re.MULTILINE))
    assert shown.locator("table").count() == tables > 0
    assert "library_name" not in shown.inner_text()
