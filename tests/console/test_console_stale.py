"""An answer and reasons of an earlier row look different from those of the row on the page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from browsing import OpenPage, violations, wait_for
from serving import Server, make_checkpoint, numeric, running
from trying import opened, settled

from models.columns.schema import ClassTarget, NumericTarget, Schema, ValuesTarget
from models.store import Store

COLUMNS = (numeric("x1"), numeric("x2"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("stale")
    store = Store(folder / "store")
    values = tuple(NumericTarget(name=name, mean=2, std=1, minimum=0, maximum=9) for name in ("rent", "cost"))
    targets = {"classes": ClassTarget(name="kind", labels=("red", "blue")), "values": ValuesTarget(targets=values)}
    for name, target in targets.items():
        store.publish(name, make_checkpoint(Schema(columns=COLUMNS, target=target), 4))
    with running(store.root, folder) as server:
        yield server


def refuse(page: Any) -> None:
    """Enters a number beyond float32."""
    page.get_by_label("x1", exact=True).fill("1e300")


def is_stale(page: Any, region: str) -> bool:
    return bool(page.get_by_role("region", name=region).locator(".stale").count())


def test_reasons_of_an_earlier_row_are_dimmed_when_a_row_is_refused(small: Server, open_page: OpenPage) -> None:
    page = opened(open_page, small, "classes", allowed=("422",))
    settled(page)
    with page.expect_response("**/explain") as answered:
        refuse(page)
    assert answered.value.status == 422
    page.get_by_role("region", name="Answer").get_by_role("alert").wait_for()
    page.wait_for_timeout(100)
    assert is_stale(page, "Answer")
    assert is_stale(page, "Reasons")
    assert violations(page) == []
    page.get_by_label("x1", exact=True).fill("1")
    settled(page)
    assert not is_stale(page, "Reasons")


def test_the_first_row_that_is_refused_has_words_in_the_place_of_reasons(small: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{small.url}/#/models", allowed=("422",))
    page = watched.page
    refused = {"status": 422, "content_type": "application/problem+json", "body": '{"detail": "Row 0 is refused."}'}
    page.route("**/explain", lambda route: route.fulfill(**refused))
    page.evaluate("location.hash = '#/models/classes/try'")
    page.get_by_role("region", name="Reasons").get_by_text("Row 0 is refused.").wait_for()
    assert page.get_by_role("region", name="Reasons").locator(".loading").count() == 0


@pytest.mark.parametrize("model", ["classes", "values"])
def test_an_answer_that_is_late_is_dimmed(small: Server, open_page: OpenPage, model: str) -> None:
    page = open_page(f"{small.url}/#/models/{model}/try").page
    wait_for(page, "document.querySelector('.reasons') && !document.querySelector('.stale')")
    page.route("**/predict", lambda route: (time.sleep(1.5), route.continue_())[-1])
    page.evaluate(
        """() => {
            const slider = document.querySelector('input[type=range]');
            slider.value = slider.max;
            slider.dispatchEvent(new Event('input', { bubbles: true }));
            const count = () => document.querySelectorAll('section[aria-labelledby=answer] .stale').length;
            window.dimmed = new Promise((done) => setTimeout(() => done(count()), 800));
        }"""
    )
    assert page.evaluate("window.dimmed") == 1
    wait_for(page, "!document.querySelector('.stale')")


def test_texts_of_an_earlier_row_keep_their_contrast(small: Server, open_page: OpenPage) -> None:
    for scheme in ("light", "dark"):
        page = open_page(f"{small.url}/#/models/values/try", allowed=("422",), scheme=scheme).page
        settled(page)
        refuse(page)
        page.get_by_role("region", name="Answer").get_by_role("alert").wait_for()
        assert violations(page) == []


def test_a_slider_that_moves_does_not_dim_the_answer(small: Server, open_page: OpenPage) -> None:
    page = opened(open_page, small, "classes")
    settled(page)
    dimmed = page.evaluate(
        """async () => {
            const slider = document.querySelector('input[type=range]');
            let dimmed = 0;
            for (let step = 0; step <= 60; step += 1) {
                slider.value = Number(slider.min) + (slider.max - slider.min) * step / 60;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
                await new Promise((done) => setTimeout(done, 15));
                dimmed += document.querySelectorAll('section[aria-labelledby=answer] .stale').length;
            }
            return dimmed;
        }"""
    )
    assert dimmed == 0


@pytest.mark.parametrize(("view", "parts"), [("try", [".prediction", ".reasons"]), ("decision", [".plane canvas"])])
def test_what_the_server_had_no_time_for_comes_later(
    small: Server, open_page: OpenPage, view: str, parts: list[str]
) -> None:
    page = open_page(f"{small.url}/#/models", allowed=("503",)).page
    refused: set[str] = set()

    def once_busy(route: Any) -> None:
        name = route.request.url.rsplit("/", 1)[1]
        if name in refused:
            route.continue_()
            return
        refused.add(name)
        route.fulfill(status=503, content_type="application/problem+json", body='{"detail": "The queue is full."}')

    for name in ("predict", "explain"):
        page.route(f"**/{name}", once_busy)
    page.evaluate("view => { location.hash = `#/models/classes/${view}`; }", view)
    for part in parts:
        page.wait_for_selector(part)
    assert "predict" in refused


def test_a_plane_that_failed_is_asked_again_by_hand(small: Server, open_page: OpenPage) -> None:
    page = open_page(f"{small.url}/#/models", allowed=("500",)).page
    page.route("**/predict", lambda route: route.fulfill(status=500, body="{}"))
    page.evaluate("location.hash = '#/models/classes/decision'")
    again = page.get_by_role("button", name="Try again")
    again.wait_for()
    page.unroute("**/predict")
    again.click()
    page.wait_for_selector(".plane canvas")
