"""The shell and the list of models in a real browser: by keyboard, on a telephone, with keys, and while restarted."""

from __future__ import annotations

import hashlib
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from browsing import HOSTILE, HOSTILE_MODEL, OpenPage, Watched, violations, wait_for
from serving import CHECKPOINTS, Server, http_get, http_post, make_store, running

from models.store import Store

SECRET = "axon_console-secret"
SCHEMES = ["light", "dark"]
PLACES = ["#/models", "#/models/textbook", "#/models/ensemble", f"#/models/{HOSTILE_MODEL}", "#/nowhere"]
NO_ANSWER = ("Failed to load resource", "ERR_CONNECTION_REFUSED", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET", "503")


def names(page: Any) -> list[str]:
    """Returns the names in the list of models, from top to bottom."""
    return [link.inner_text() for link in page.locator("table.models tbody th a").all()]


def shown_list(open_page: OpenPage, server: Server, **options: Any) -> Any:
    page = open_page(f"{server.url}/", **options).page
    page.wait_for_selector("table.models")
    return page


def test_the_list_tells_what_the_api_tells(console: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, console)
    listed = http_get(f"{console.url}/models").json()["models"]
    assert names(page) == [model["name"] for model in listed]
    assert page.title() == "Models · Axon"
    for model in listed:
        row = page.locator("table.models tbody tr", has=page.get_by_role("link", name=model["name"], exact=True))
        cells = row.inner_text()
        assert f"{model['name']}@{model['version']}" in cells
        assert model["task"] in cells
        assert f"{model['total_params']:,}" in cells
        figure = model["metrics"].get("accuracy", model["metrics"].get("r2"))
        assert f"{figure:.4g}".removesuffix(".0") in cells


def test_search_and_order_are_kept_in_the_address(console: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, console)
    listed = http_get(f"{console.url}/models").json()["models"]
    by_size = [one["name"] for one in sorted(listed, key=lambda one: (one["total_params"], one["name"]))]
    page.get_by_role("button", name="Parameters").click()
    assert names(page) == by_size
    assert page.locator("th[aria-sort=ascending]").inner_text().startswith("Parameters")
    page.get_by_role("button", name="Parameters").click()
    assert [page.locator("th[aria-sort]").get_attribute("aria-sort"), names(page)[0]] == ["descending", by_size[-1]]
    page.keyboard.press("/")
    page.keyboard.type("REGRESSION")
    wait_for(page, "document.querySelectorAll('table.models tbody tr').length === 1")
    assert names(page) == ["ensemble"]
    page.reload()
    page.wait_for_selector("table.models")
    assert names(page) == ["ensemble"]
    assert page.get_by_role("searchbox").input_value() == "REGRESSION"


def test_requests_per_second_follow_the_requests(console: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, console)
    rate = page.locator("table.models tbody tr", has_text="xor").locator("td.rate")
    wait_for(page, "document.querySelector('td.rate').textContent === '0'")
    for _ in range(50):
        assert http_post(f"{console.url}/predict", json={"model": "xor", "instances": [[0, 1]]}).status_code == 200
    wait_for(page, "cell => Number(cell.textContent) > 0", rate.element_handle())


def test_the_list_alone_loads_the_overview_ahead(console: Server, open_page: OpenPage) -> None:
    for place, expected in (("#/models", True), ("#/models/xor/drift", False)):
        page = open_page(f"{console.url}/{place}").page
        page.wait_for_timeout(1500)
        loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
        assert any(name.endswith("views/model.js") for name in loaded) is expected, place


def test_problems_of_the_store_and_an_empty_store_are_told(tmp_path: Path, open_page: OpenPage) -> None:
    store = make_store(tmp_path)
    store.publish("price", CHECKPOINTS["price"]).path.write_bytes(b"no checkpoint")
    with running(store.root, tmp_path) as server:
        page = shown_list(open_page, server)
        problems = page.locator("section.notice").inner_text()
        assert "1 problem in the store" in problems
        assert "price@2" in problems
        assert http_get(f"{server.url}/models").json()["problems"]["price@2"] in problems
        assert violations(page) == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(console: Server, open_page: OpenPage, scheme: str, place: str) -> None:
    page = open_page(f"{console.url}/{place}", scheme=scheme).page
    page.wait_for_selector("table, .empty")
    for details in page.locator("details").all():
        details.evaluate("one => one.open = true")
    assert violations(page) == []
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [360, 700, 1600])
def test_no_place_scrolls_sideways_and_nothing_jumps(
    console: Server, open_page: OpenPage, place: str, width: int
) -> None:
    watched = open_page(f"{console.url}/", viewport={"width": width, "height": 800})
    page = watched.page
    page.wait_for_selector("table")
    page.evaluate(
        """() => { window.jumps = 0; new PerformanceObserver((list) => list.getEntries().forEach((entry) => {
        window.jumps += entry.value; })).observe({ type: 'layout-shift', buffered: true }); }"""
    )
    page.evaluate("place => { location.hash = place; }", place)
    page.wait_for_selector("table, .empty")
    wait_for(page, "!document.querySelector('.loading')")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.jumps") < 0.02


def test_everything_is_reached_by_keyboard_alone(console: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, console)

    def focused() -> str:
        return str(page.evaluate("document.activeElement.ariaLabel || document.activeElement.innerText || ''"))

    def tab_to(text: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if text in focused():
                return
        raise AssertionError(f"{text} is not reached")

    page.keyboard.press("Tab")
    assert focused() == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.tagName") == "MAIN"
    tab_to("textbook")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "the focus is visible"
    page.keyboard.press("Enter")
    page.wait_for_selector(".drawing svg")
    assert page.title() == "textbook · Axon"
    assert page.evaluate("document.activeElement.tagName") == "MAIN"
    tab_to("Drawing of the network")
    page.keyboard.press("ArrowRight")
    assert page.locator(".reading").inner_text().startswith("Bias of unit 1 of layer 1")
    page.keyboard.press("Shift+Tab")
    page.go_back()
    page.wait_for_selector("table.models")


def test_the_theme_is_kept(console: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, console)
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    button = page.get_by_role("button", name="Theme")
    while "dark" not in button.inner_text():
        button.click()
    dark = page.evaluate(colour)
    assert dark != light
    page.reload()
    page.wait_for_selector("table.models")
    assert page.evaluate(colour) == dark


@pytest.fixture(scope="module")
def locked_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("locked"))


def test_a_key_is_asked_for_kept_in_the_tab_and_sent(locked_store: Store, tmp_path: Path, open_page: OpenPage) -> None:
    keys = f"console:read,predict:{hashlib.sha256(SECRET.encode()).hexdigest()}"
    with running(locked_store.root, tmp_path, api_keys=keys) as server:
        watched = open_page(f"{server.url}/", allowed=("401",))
        page = watched.page
        field = page.get_by_label("Key")
        field.wait_for()
        assert watched.faults == [], "nothing is asked before there is a key"
        assert violations(page) == []
        field.fill("axon_wrong")
        page.keyboard.press("Enter")
        page.get_by_role("alert").wait_for()
        assert "does not know this key" in page.get_by_role("alert").inner_text()
        field.fill(SECRET)
        page.keyboard.press("Enter")
        page.wait_for_selector("table.models")
        assert names(page) == sorted(CHECKPOINTS)
        assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [1, 0, ""]
        page.reload()
        page.wait_for_selector("table.models")
        with page.expect_request("**/models/price") as asked:
            page.get_by_role("link", name="price", exact=True).click()
        assert asked.value.headers["x-api-key"] == SECRET
        assert SECRET not in asked.value.url
        page.wait_for_selector(".drawing svg")
        page.get_by_role("button", name="Forget key").click()
        page.get_by_label("Key").wait_for()
        assert page.evaluate("sessionStorage.length") == 0


def test_a_restart_is_told_and_survived(locked_store: Store, tmp_path: Path, open_page: OpenPage) -> None:
    server = Server(locked_store.root, tmp_path)
    try:
        server.start()
        watched: Watched = open_page(f"{server.url}/", allowed=NO_ANSWER)
        page = watched.page
        page.wait_for_selector("table.models")
        server.stop()
        page.get_by_role("link", name="price", exact=True).click()
        page.get_by_text("The server does not answer").wait_for()
        assert violations(page) == []
        server.start()
        # The page may have found the server by itself, and then the button is gone.
        page.get_by_role("button", name="Try now").evaluate_all("buttons => buttons.forEach((one) => one.click())")
        page.wait_for_selector(".drawing svg", timeout=30_000)
        assert page.locator(".connection").inner_text() == ""
        server.stop()
    finally:
        server.kill()


def hang(server: Server, signal_: signal.Signals) -> None:
    """Sends a signal that stops or continues all processes of a server."""
    for pid in server.processes():
        os.kill(pid, signal_)


def test_a_server_that_hangs_is_told_and_comes_back(tmp_path: Path, open_page: OpenPage) -> None:
    with running(make_store(tmp_path).root, tmp_path) as server:
        page = open_page(f"{server.url}/#/nowhere", allowed=NO_ANSWER).page
        page.clock.install()
        page.evaluate("location.hash = '#/models'")
        page.wait_for_selector("table.models")
        try:
            hang(server, signal.SIGSTOP)
            with page.expect_request("**/models"):
                page.clock.fast_forward(6_000)  # the next reading of the list
            page.clock.fast_forward(21_000)
            page.get_by_text("The server does not answer").wait_for()
            page.wait_for_timeout(6_000)  # a probe that hangs
            hang(server, signal.SIGCONT)
            page.clock.fast_forward(8_000)
            wait_for(page, "document.querySelector('.connection').textContent === ''")
            page.evaluate("location.hash = '#/models/price/try'")
            page.wait_for_selector(".prediction")
            wait_for(page, "document.querySelector('.reasons') && !document.querySelector('.stale')")
            hang(server, signal.SIGSTOP)
            with page.expect_request("**/predict"):
                page.get_by_label("rooms", exact=True).fill("2")
            page.clock.fast_forward(21_000)
            page.wait_for_timeout(500)
            assert page.get_by_text("The server does not answer").count() == 0
            page.clock.fast_forward(41_000)
            page.locator(".answers").get_by_text("The server does not answer").first.wait_for()
        finally:
            hang(server, signal.SIGCONT)
        page.clock.fast_forward(8_000)
        wait_for(page, "document.querySelector('.reasons') && !document.querySelector('.stale, .fault')")


def test_what_is_not_there_is_said_in_the_servers_words(console: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{console.url}/#/models/nobody", allowed=("404",))
    alert = watched.page.get_by_role("alert")
    alert.first.wait_for()
    assert "nobody" in alert.first.inner_text()
    watched.page.get_by_role("link", name="Models").first.click()
    watched.page.wait_for_selector("table.models")


def test_hostile_names_are_texts(console: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{console.url}/#/models/{HOSTILE_MODEL}")
    page = watched.page
    page.wait_for_selector("table.columns")
    for details in page.locator("details").all():
        details.evaluate("one => one.open = true")
    text = page.locator("main").inner_text()
    for name in HOSTILE:
        assert name in text
    assert page.locator("main img, main script").count() == 0


def test_the_console_works_behind_a_prefix(
    console: Server, demo_store: Store, tmp_path: Path, open_page: OpenPage
) -> None:
    with running(demo_store.root, tmp_path, root_path="/tools/axon") as server:
        for place in ("/tools/axon", "/tools/axon/"):
            page = open_page(f"{server.url}{place}").page
            page.wait_for_selector("table.models")
            asked: list[str] = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.get_by_role("link", name="xor", exact=True).click()
            page.wait_for_selector(".drawing svg")
            assert asked
            assert all(url.startswith(f"{server.url}/tools/axon/") for url in asked)


def test_the_link_to_the_list_ends_a_search(untrained: Server, open_page: OpenPage) -> None:
    page = shown_list(open_page, untrained)
    everything = names(page)
    for reloaded in (False, True):
        page.get_by_role("searchbox").fill("price")
        wait_for(page, "document.querySelectorAll('table.models tbody tr').length === 1")
        page.get_by_role("button", name="Published").click()
        wait_for(page, "location.hash === '#/models?q=price&sort=published'")
        if reloaded:
            page.reload()
            page.wait_for_selector("table.models")
            assert names(page) == ["price"]
        page.get_by_role("link", name="Models", exact=True).click()
        wait_for(page, "document.querySelectorAll('table.models tbody tr').length === 3")
        assert names(page) == everything
        assert page.get_by_role("searchbox").input_value() == ""
        assert page.evaluate("location.hash") == "#/models"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a200": 90, "b200": 5}, {"a200": 4, "b200": 7}, {"a": 0, "b": 1}),  # a version was removed in one process
        ({"a1": 90, "a2": 10}, {"a2": 14}, {"a": 2}),  # a version ended
        ({"a200": 3}, {"a200": 3, "a422": 8, "b200": 2}, {"a": 4, "b": 1}),  # new series
    ],
)
def test_the_rate_of_a_model_is_the_sum_over_its_counters(
    untrained: Server,
    open_page: OpenPage,
    before: dict[str, int],
    after: dict[str, int],
    expected: dict[str, float],
) -> None:
    found = open_page(f"{untrained.url}/").page.evaluate(
        """async (readings) => {
            const { ratesOf } = await import(new URL('console/views/models.js', document.baseURI));
            const [before, after] = readings.map((one) => new Map(
                Object.entries(one).map(([series, n]) => [series, [series[0], n]])));
            return Object.fromEntries(ratesOf(after, before, 2));
        }""",
        [before, after],
    )
    assert found == expected
