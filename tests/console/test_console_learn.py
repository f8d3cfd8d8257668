"""The view to learn from: the studies that were run, and the graph of a small network by keyboard."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from browsing import OpenPage, violations, wait_for
from serving import Server, http_get, make_store, running

from models.store import Store

SCHEMES = ["light", "dark"]
SECRET = "axon_learn-secret"


def test_a_study_opens_with_its_plot_and_tables(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/learn").page
    studies = http_get(f"{viewed.url}/studies").json()["studies"]
    page.wait_for_selector(".study")
    assert page.locator(".study").count() == len(studies) == 2
    study = http_get(f"{viewed.url}/studies/xor").json()
    section = page.locator(".study", has_text=study["claim"])
    assert "It held." in section.inner_text()
    assert study["verdict"] in section.inner_text()
    section.get_by_role("button").first.focus()
    page.keyboard.press("Enter")
    wait_for(page, "document.querySelector('.study-plot img')?.naturalWidth > 0")
    assert study["explanation"] in section.inner_text()
    for table in study["tables"]:
        section.get_by_text(table["title"]).click()
        rows = section.locator("tbody tr")
        assert rows.count() == len(table["rows"])
        assert section.locator("thead th").all_inner_texts() == list(table["rows"][0])
    assert violations(page) == []


def test_a_study_tells_its_seed_also_if_the_seed_is_zero(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/learn").page
    page.wait_for_selector(".study")
    assert {one["seed"] for one in http_get(f"{viewed.url}/studies").json()["studies"]} == {0}
    assert all("seed 0" in text for text in page.locator(".study").all_inner_texts())


def test_a_study_is_opened_by_its_address(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/learn?study=neuron").page
    wait_for(page, "document.querySelector('.study-plot img')?.naturalWidth > 0")


def test_the_graph_is_read_by_keyboard_and_learns(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/learn").page
    page.locator("[data-node=z1]").focus()
    names = []
    for _ in range(25):
        names.append(page.evaluate("document.activeElement.dataset.node"))
        page.keyboard.press("ArrowRight")
    assert len(set(names)) == 25
    reading = page.locator(".reading")
    page.locator("[data-node=L]").focus()
    assert "∂L/∂L = 1" in reading.inner_text()
    page.locator("[data-node=p]").focus()
    assert "p = σ(o)" in reading.inner_text()
    status = page.locator("section [role=status]").first
    before = status.inner_text()
    page.get_by_role("button", name="100 steps").click()
    wait_for(page, "before => !document.body.innerText.includes(before)", before)
    losses = [float(text.split(" is ")[1].rstrip(".")) for text in (before, status.inner_text())]
    assert losses[1] < losses[0]
    page.get_by_role("button", name="Begin again").click()
    assert status.inner_text() == before


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [360, 1200])
def test_learn_is_accessible_and_fits(viewed: Server, open_page: OpenPage, scheme: str, width: int) -> None:
    page = open_page(f"{viewed.url}/#/learn", scheme=scheme, viewport={"width": width, "height": 800}).page
    page.wait_for_selector(".study")
    for details in page.locator("details").all():
        details.evaluate("one => one.open = true")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_store_without_studies_says_how_to_run_them(tmp_path: Path, open_page: OpenPage) -> None:
    with running(make_store(tmp_path).root, tmp_path) as server:
        page = open_page(f"{server.url}/#/learn").page
        page.get_by_text("axon study all --publish").wait_for()
        assert violations(page) == []


def test_a_plot_is_shown_with_a_key_too(viewed_store: Store, tmp_path: Path, open_page: OpenPage) -> None:
    keys = f"learner:read:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    with running(viewed_store.root, tmp_path, api_keys=keys) as server:
        page = open_page(f"{server.url}/#/learn?study=xor").page
        page.get_by_label("Key").fill(SECRET)
        page.keyboard.press("Enter")
        wait_for(page, "document.querySelector('.study-plot img')?.naturalWidth > 0")
