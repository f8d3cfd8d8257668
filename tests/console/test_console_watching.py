"""The views that watch: the figures of the last minutes, and drift."""

from __future__ import annotations

import re
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import OpenPage, violations, wait_for
from serving import Server, http_get, http_post

from models.store import Store

SCHEMES = ["light", "dark"]


def ask(server: Server, model: str, rows: list[list[float]], times: int = 1) -> None:
    for _ in range(times):
        http_post(f"{server.url}/predict", json={"model": model, "instances": rows})


def tile(page: Any, name: str) -> str:
    return str(page.locator(".tile", has=page.get_by_text(name, exact=True)).locator("dd").first.inner_text())


def test_the_figures_follow_the_requests(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/live").page
    page.wait_for_selector(".tiles")
    before = int(tile(page, "Requests").replace(",", ""))
    ask(viewed, "iris", [[5.1, 3.5, 1.4, 0.2]] * 3, times=40)
    ask(viewed, "iris", [[1]], times=5)
    wait_for(
        page,
        "before => Number(document.querySelectorAll('.tile dd')[3].textContent.replace(',', '')) >= before + 45",
        before,
    )
    assert tile(page, "Workers") == "1 of 1"
    assert int(tile(page, "Refused, failed").split(",")[0]) >= 5
    page.get_by_label("Model").select_option("iris")
    batch = page.get_by_role("slider", name="Rows of a batch")
    batch.focus()
    page.keyboard.press("End")
    found = set()
    for _ in range(60):
        found |= set(re.findall(r"mean (\S+),", batch.get_attribute("aria-valuetext")))
        page.keyboard.press("ArrowLeft")
    assert any(text != "–" and 1 <= float(text) <= 120 for text in found)
    assert violations(page) == []


def look(page: Any) -> None:
    """Waits for the next scrape of a page whose clock stands still."""
    with page.expect_response("**/metrics?*"):
        page.clock.fast_forward(2000)
    page.wait_for_timeout(50)


def test_live_tells_nothing_of_the_time_in_which_it_did_not_look(untrained: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{untrained.url}/#/models")
    page = watched.page
    page.clock.install()
    page.evaluate("location.hash = '#/live'")
    look(page)
    look(page)
    page.wait_for_selector(".tiles")
    ask(untrained, "price", [[80, 3]], times=3)
    look(page)
    assert tile(page, "Requests") == "3"
    ask(untrained, "price", [[80, 3]], times=7)
    with page.expect_response("**/metrics?*"):
        page.clock.fast_forward(3_600_000)  # the machine slept
    page.wait_for_timeout(50)
    look(page)
    page.wait_for_selector(".tiles")
    assert tile(page, "Requests") == "0"
    ask(untrained, "price", [[80, 3]], times=2)
    look(page)
    assert tile(page, "Requests") == "2"


def counts(start: float, requests: int) -> str:
    """Returns the metrics of a server by its start time."""
    return (
        f'axon_start_time_seconds {start}\naxon_requests_total{{model="price",status="200"}} {requests}\n'
        'axon_worker_up{worker="0"} 1\n'
    )


def test_a_server_that_starts_again_leaves_a_gap(untrained: Server, open_page: OpenPage) -> None:
    page = open_page(f"{untrained.url}/#/nowhere").page
    texts = [counts(1.7e9, 900), counts(1.7e9, 905), counts(1.7e9, 700), counts(1.8e9, 5000), counts(1.8e9, 5003)]
    answers = iter(texts)
    page.route("**/metrics?*", lambda route: route.fulfill(body=next(answers, texts[-1]), content_type="text/plain"))
    page.clock.install()
    page.evaluate("location.hash = '#/live'")
    for _ in texts:
        look(page)
    page.wait_for_selector(".tiles")
    assert tile(page, "Requests") == "8", "a fall without a start is no increase"
    chart = page.locator(".plot path.line.c0").first.get_attribute("d")
    assert chart.count("M") == 2
    assert page.get_by_text("Several servers").count() == 0


def test_several_servers_at_one_address_are_told(
    untrained: Server, open_page: OpenPage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from serving import running

    with running(Path(untrained.environment["AXON_STORE"]), tmp_path_factory.mktemp("replica")) as replica:
        turn = cycle((untrained, replica))
        ask(untrained, "price", [[80, 3]], times=40)
        page = open_page(f"{untrained.url}/#/nowhere").page

        def balanced(route: Any) -> None:
            route.fulfill(response=route.fetch(url=route.request.url.replace(untrained.url, next(turn).url)))

        page.route("**/metrics?*", balanced)
        for place, words in (
            ("#/models", "Several servers answer at this address, and each counts its own requests."),
            ("#/live", "Several servers answer at this address"),
            ("#/models/price/drift", "Several servers answer at this address: this is the window of one of them"),
        ):
            page.evaluate("place => { location.hash = place; }", place)
            page.get_by_text(words).wait_for()
            assert violations(page) == []
        page.evaluate("location.hash = '#/models'")
        page.wait_for_timeout(6000)
        assert set(page.locator("td.rate").all_inner_texts()) == {"–"}
        page.evaluate("location.hash = '#/live'")
        page.get_by_text(words.split(":")[0]).wait_for()
        assert page.locator(".tiles, .plot").count() == 0
        page.unroute_all(behavior="ignoreErrors")  # a scrape under way would fail in the next test


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", [360, 1200])
def test_live_is_accessible_and_fits(viewed: Server, open_page: OpenPage, scheme: str, width: int) -> None:
    page = open_page(f"{viewed.url}/#/live", scheme=scheme, viewport={"width": width, "height": 800}).page
    page.wait_for_selector(".plot-area svg", timeout=15_000)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def moved_rows(number: int, shift: float) -> list[list[float]]:
    rng = np.random.default_rng(5)
    rows = rng.normal([5.8, 3.0, 3.8, 1.2 + shift], [0.8, 0.4, 1.7, 0.7], (number, 4))
    return [[round(float(cell), 2) for cell in row] for row in rows]


def test_drift_is_told_from_few_rows_to_a_verdict(
    viewed_store: Store, open_page: OpenPage, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from serving import running

    with running(viewed_store.root, tmp_path_factory.mktemp("drifting")) as server:
        page = open_page(f"{server.url}/#/models/iris/drift").page
        page.get_by_text("Too few rows for a verdict").wait_for()
        assert violations(page) == []
        ask(server, "iris", moved_rows(30, 0.0))
        page.get_by_text("30 of 200 rows").wait_for(timeout=15_000)
        page.wait_for_selector(".plot-area rect.window")
        assert violations(page) == []
        ask(server, "iris", moved_rows(400, 3.0))
        page.get_by_role("heading", name="Drift", exact=True).wait_for(timeout=15_000)
        document = http_get(f"{server.url}/models/iris/drift").json()
        assert document["reason"] in page.locator(".verdict").inner_text()
        assert page.locator(".drift-list [aria-current=true]").inner_text().startswith("!")
        variables = [*document["features"], *document["predictions"]]
        assert page.locator(".drift-list button").count() == len(variables)
        flagged = next(one for one in variables if one["name"] == "petal_width")
        page.locator(".drift-list button", has_text="petal_width").click()
        page.get_by_text("Shares by bin").click()
        rows = page.locator("#variable >> xpath=ancestor::section").locator("tbody tr").all()
        shares = [
            [float(cell.inner_text().removesuffix("%").replace(",", "")) / 100 for cell in row.locator("td").all()]
            for row in rows
        ]
        assert np.array(shares) == pytest.approx(np.array([flagged["training"], flagged["window"]]).T, abs=2e-3)
        bars = page.locator(".plot-area rect.window").all()
        heights = np.array([float(bar.get_attribute("height")) for bar in bars])
        top = max(flagged["training"] + flagged["window"])
        assert heights == pytest.approx(100 * np.array(flagged["window"]) / top, abs=0.01)
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            assert violations(page) == []
        for width in (360, 1600):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_model_without_distributions_says_what_to_do(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/models/plain/drift").page
    page.get_by_text("Train the model again").wait_for()
    assert violations(page) == []


PLACES = {
    "#/models/iris/try": ".reasons",
    "#/models/mixed/try": ".reasons",
    "#/models/xor/decision": ".plane:nth-child(2) canvas",
    "#/models/iris/drift": ".verdict",
    "#/live": ".tiles",
    "#/learn": ".study",
}


@pytest.mark.parametrize("place", PLACES)
def test_nothing_jumps_while_a_view_is_loaded(viewed: Server, open_page: OpenPage, place: str) -> None:
    page = open_page(f"{viewed.url}/").page
    page.wait_for_selector("table")
    page.evaluate(
        """() => { window.jumps = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
        window.jumps += entry.value; })).observe({ type: 'layout-shift', buffered: true }); }"""
    )
    page.evaluate("place => { location.hash = place; }", place)
    page.wait_for_selector(PLACES[place])
    assert page.evaluate("window.jumps") < 0.02


def test_drift_names_the_version_and_the_columns_that_are_left_out(untrained: Server, open_page: OpenPage) -> None:
    page = open_page(f"{untrained.url}/#/models").page

    def of_many_columns(route: Any) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"columns_left_out": 1234})

    page.route("**/models/price/drift", of_many_columns)
    page.evaluate("location.hash = '#/models/price/drift'")
    page.get_by_text("Version 1 of price; not compared: 1,234 columns beyond the first 1,000.").wait_for()
    page.unroute("**/models/price/drift")
    page.reload()
    page.get_by_text("Version 1 of price.").wait_for()
