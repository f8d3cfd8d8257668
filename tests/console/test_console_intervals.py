"""Intervals and sets of labels in the view in which a model is tried: by keyboard, as text, and in the code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browsing import OpenPage, violations, wait_for
from serving import Server, http_get, http_post
from trying import code, opened, row_of, run_python, run_shell, settled
from viewed_models import RISE


def choose_level(page: Any, name: str, place: int) -> None:
    """Chooses a level by keyboard: none, 80, 90 and 95 percent have the places 0 to 3."""
    page.get_by_label(name, exact=True).focus()
    page.keyboard.press("Home")
    for _ in range(place):
        page.keyboard.press("ArrowDown")


def test_an_interval_is_added_to_a_value(viewed: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = opened(open_page, viewed, RISE)
    settled(page)
    assert "interval:" not in page.get_by_role("region", name="Answer").inner_text()
    for place, level in ((2, 0.9), (3, 0.95)):
        choose_level(page, "Interval", place)
        shown = page.get_by_text(f"{100 * level:g} % interval: ")
        shown.first.wait_for()
        request = {"model": RISE, "instances": [row_of(page)], "intervals": level}
        answer = http_post(f"{viewed.url}/predict", json=request).json()
        low, high = shown.first.inner_text().partition(": ")[2].split(" to ")
        assert [float(low), float(high)] == pytest.approx(answer["intervals"][0], rel=1e-4)
    assert run_shell(code(page, "curl"), tmp_path) == answer
    printed = run_python(code(page, "Python"), tmp_path).rpartition("[[")[2].rstrip("]\n").split()
    assert [float(bound) for bound in printed] == pytest.approx(answer["intervals"][0])
    code(page, "Open Inference Protocol")
    page.get_by_text("This protocol has no place for intervals.").wait_for()
    page.get_by_label("Interval", exact=True).select_option("none")
    page.get_by_text("95 % interval: ").first.wait_for(state="detached")
    assert violations(page) == []


def test_a_set_of_labels_follows_the_slider(viewed: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = opened(open_page, viewed, "iris")
    choose_level(page, "Set of labels", 3)
    page.get_by_text("95 % set: ").first.wait_for()
    page.get_by_label("petal_length, slider").focus()
    page.keyboard.press("Home")
    page.get_by_label("petal_width, slider").focus()
    page.keyboard.press("Home")
    page.get_by_text("95 % set: setosa").first.wait_for()
    wait_for(page, "document.querySelector('[aria-live=polite]').textContent.endsWith('95 % set: setosa')")
    settled(page)
    answer = run_shell(code(page, "curl"), tmp_path)
    assert answer["sets"] == [["setosa"]]
    assert run_python(code(page, "Python"), tmp_path).rstrip().endswith("[['setosa']]")
    assert violations(page) == []


def test_a_model_without_calibration_offers_no_interval(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "xor")
    settled(page)
    assert http_get(f"{viewed.url}/models/xor").json()["intervals"] is None
    assert page.get_by_label(re.compile("^(Set of labels|Interval)$")).count() == 0
