"""Faults that the console survives: keys that cannot be sent, blocked storage, and errors after the first answer."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from browsing import OpenPage, violations, wait_for
from serving import SEVERAL, Server, http_get, http_post, make_checkpoint, make_store, numeric, running, wait_until

import axon
from models.columns.schema import Schema
from models.store import Store

SECRET = "axon_console-secret"
BLOCKED = """Object.defineProperty(window, 'sessionStorage', {
    get() { throw new DOMException('The user blocks data of sites.', 'SecurityError'); } })"""
METRICS = ("rmse", "mae", "r2", "median_absolute_error", "mean_absolute_percentage_error", "largest_error")


def make_moving(store: Store) -> None:
    """Publishes a model with distributions of its columns, and a model with six metrics of three targets."""
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(300, 3)).round(3), columns=["x1", "x2", "y"])
    small: dict[str, Any] = {"recipe": "classic", "hidden_sizes": (4,), "epochs": 2, "progress": False}
    axon.fit(table, target="y", name="moving", **small).publish(store)
    by_target = {name: dict.fromkeys(METRICS, 1234.5) for name in SEVERAL.names}
    checkpoint = make_checkpoint(Schema(columns=(numeric("area"), numeric("rooms")), target=SEVERAL), 4)
    store.publish("houses", replace(checkpoint, metrics={"test": {"rmse": 0.5, "targets": by_target}}))


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("moving")
    store = Store(folder / "store")
    make_moving(store)
    with running(store.root, folder) as server:
        yield server


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("locked")
    keys = f"console:read,predict:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    with running(make_store(folder).root, folder, api_keys=keys) as server:
        yield server


def give_key(page: Any, key: str) -> None:
    page.get_by_label("Key").fill(key)
    page.keyboard.press("Enter")


def test_a_key_that_no_header_can_hold_is_refused_and_the_right_one_is_taken(
    locked: Server, open_page: OpenPage
) -> None:
    page = open_page(f"{locked.url}/").page
    give_key(page, "axon_cońsole-secret")
    page.get_by_role("alert").wait_for()
    assert "ASCII" in page.get_by_role("alert").inner_text()
    assert page.get_by_text("The server does not answer").count() == 0
    assert violations(page) == []
    give_key(page, SECRET)
    page.wait_for_selector("table.models")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"


def test_a_key_is_kept_in_the_page_where_the_browser_keeps_no_data(locked: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{locked.url}/")
    page = watched.page
    page.add_init_script(BLOCKED)
    page.reload()
    give_key(page, SECRET)
    page.wait_for_selector("table.models")
    page.get_by_role("button", name="Forget key").click()
    page.get_by_label("Key").wait_for()


def test_an_error_after_the_first_answer_is_told_beside_the_drift(moving: Server, open_page: OpenPage) -> None:
    page = open_page(f"{moving.url}/#/models/moving/drift", allowed=("500",)).page
    page.wait_for_selector(".verdict")
    problem = {"title": "Internal error", "detail": "The window is lost."}
    page.route("**/drift", lambda route: route.fulfill(status=500, body=json.dumps(problem)))
    page.get_by_role("alert").wait_for(timeout=15_000)
    assert "The window is lost." in page.get_by_role("alert").inner_text()
    assert page.locator(".verdict").count() == 1


def test_another_window_keeps_the_chosen_column_and_the_focus(moving: Server, open_page: OpenPage) -> None:
    rows = np.random.default_rng(1).normal(size=(30, 2)).round(3).tolist()
    http_post(f"{moving.url}/predict", json={"model": "moving", "instances": rows})
    page = open_page(f"{moving.url}/#/models").page

    def with_both(route: Any) -> None:
        answer = route.fetch()
        document = answer.json() | {"last": answer.json()["current"]}
        time.sleep(0.4 if "window=" in route.request.url else 0)
        route.fulfill(response=answer, json=document)

    page.route("**/models/moving/drift*", with_both)
    page.evaluate("location.hash = '#/models/moving/drift'")
    page.locator(".drift-list button", has_text="x2").click()
    wait_for(page, "document.querySelectorAll('.verdict [aria-pressed]').length === 2")
    assert page.locator(".drift-list button").first.inner_text().startswith("Value predicted")
    assert page.locator("[role=status] p").count() == 0, "the heading alone is announced"
    with page.expect_response("**/drift?window=current"):
        page.get_by_role("button", name="Growing").click()
        assert page.evaluate("document.activeElement.textContent") == "Growing"
    page.wait_for_timeout(200)
    assert page.evaluate("document.activeElement.textContent") == "Growing"
    assert page.locator("#variable").inner_text() == "x2"


def test_the_rows_of_the_growing_window_are_told_beside_one_that_is_not_there(
    tmp_path: Path, open_page: OpenPage
) -> None:
    store = Store(tmp_path / "store")
    make_moving(store)
    with running(store.root, tmp_path) as server:
        page = open_page(f"{server.url}/#/nowhere").page
        rows = np.random.default_rng(1).normal(size=(30, 2)).round(3).tolist()
        http_post(f"{server.url}/predict", json={"model": "moving", "instances": rows})
        address = f"{server.url}/models/moving/drift"
        wait_until(lambda: http_get(address).json()["current"] is not None)
        document = http_get(f"{address}?window=last").json()
        assert (document["window"], document["last"]) == (None, None)
        assert document["current"] == http_get(address).json()["current"]
        assert document["current"]["rows"] == 30
        # A page whose window was there before the server started again.
        page.route("**/drift", lambda route: route.continue_(url=f"{address}?window=last"))
        page.evaluate("location.hash = '#/models/moving/drift'")
        page.get_by_text("30 of 200 rows").wait_for()
        page.get_by_text("No window is complete yet").wait_for()
        ended = document | {"window": "last", "last": document["current"], "training_rows": 240}
        page.route("**/drift", lambda route: route.fulfill(json=ended))
        page.get_by_text("The last complete window").wait_for(timeout=15_000)
        assert page.get_by_role("progressbar").count() == 0, "no row is added to a complete window"


@pytest.mark.slow  # waits for three readings of the rates
def test_requests_per_second_come_back_after_an_error(moving: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{moving.url}/#/live", allowed=("500",))
    page = watched.page
    answers = iter([500])
    page.route(
        "**/metrics?*axon_requests_total",
        lambda route: route.fulfill(status=500, body="") if next(answers, None) else route.continue_(),
    )
    page.evaluate("location.hash = '#/models'")
    page.wait_for_selector("td.rate")
    wait_for(page, "document.querySelector('td.rate').textContent === '0'")


def test_metrics_of_many_targets_scroll_within_the_card_of_a_telephone(moving: Server, open_page: OpenPage) -> None:
    page = open_page(f"{moving.url}/#/models/houses", viewport={"width": 360, "height": 800}).page
    group = page.get_by_role("group", name="Metrics by target")
    group.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert group.evaluate("one => one.scrollWidth > one.clientWidth")
    assert violations(page) == []
