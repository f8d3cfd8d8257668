"""The view of decisions: its colours are the answers of the server, beside a perceptron and by keyboard."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from browsing import HOSTILE_MODEL, OpenPage, violations, wait_for
from serving import Server, http_get, http_post, wait_until
from viewed_models import MIXED, RISE

SIDE = 64


def opened(open_page: OpenPage, server: Server, place: str, **options: Any) -> Any:
    page = open_page(f"{server.url}/#/models/{place}", **options).page
    page.wait_for_selector(".plane canvas")
    wait_for(page, "[...document.querySelectorAll('canvas')].every((one) => one.width === 64)")
    return page


def pixels(page: Any, model: str) -> np.ndarray:
    """Returns the colours of a plane, (64, 64, 3), the highest y first."""
    data = page.locator(f".plane[aria-label='{model}'] canvas").evaluate(
        "one => [...one.getContext('2d').getImageData(0, 0, 64, 64).data]"
    )
    return np.array(data).reshape(SIDE, SIDE, 4)[..., :3]


def colour(page: Any, token: str) -> np.ndarray:
    found = page.evaluate(
        """token => {
            const probe = document.body.appendChild(document.createElement('i'));
            probe.style.color = `var(${token})`;
            const { color } = getComputedStyle(probe);
            probe.remove();
            return color;
        }""",
        token,
    )
    return np.array([float(part) for part in re.findall(r"[\d.]+", found)[:3]])


def grid(server: Server, model: str, x: str, y: str) -> tuple[list[dict[str, float]], dict[str, Any]]:
    """Returns the points of the plane, the lowest y first, and the detail of the model."""
    detail = http_get(f"{server.url}/models/{model}").json()
    row = detail["example"]["instances"][0]
    sides = []
    for name in (x, y):
        [column] = [one for one in detail["columns"] if one["name"] == name]
        low, high = column["minimum"], column["maximum"]
        room = 0.15 * (high - low)
        first, last = low - room, high + room
        sides.append([first + (last - first) * at / (SIDE - 1) for at in range(SIDE)])
    return [row | {x: a, y: b} for b in sides[1] for a in sides[0]], detail


def expected(page: Any, server: Server, model: str, x: str, y: str) -> np.ndarray:
    """Returns the colours that the answers of the server mean, (64, 64, 3), the highest y first."""
    points, detail = grid(server, model, x, y)
    answer = http_post(f"{server.url}/predict", json={"model": model, "instances": points}).json()
    ground = colour(page, "--raised")
    if detail["classes"] is None:
        values = np.array(answer["predictions"])
        strength = (values - values.min()) / (values.max() - values.min())
        colours = np.repeat(colour(page, "--accent")[None], len(values), axis=0)
    else:
        probabilities = np.array(answer["probabilities"])
        classes = len(detail["classes"])
        strength = (probabilities.max(axis=1) - 1 / classes) / (1 - 1 / classes)
        names = np.array([colour(page, f"--c{at}") for at in range(classes)])
        colours = names[[detail["classes"].index(label) for label in answer["predictions"]]]
    mixed = ground + (colours - ground) * 0.9 * strength[:, None]
    return mixed.reshape(SIDE, SIDE, 3)[::-1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("model", "beside", "axes"),
    [
        ("xor", "xor-perceptron", ("x1", "x2")),
        ("clusters", "clusters-linear", ("x1", "x2")),
        ("iris", None, ("petal_length", "petal_width")),
        (RISE, None, ("x1", "x2")),
    ],
)
def test_the_colours_are_the_answers_of_the_server(
    viewed: Server, open_page: OpenPage, scheme: str, model: str, beside: str | None, axes: tuple[str, str]
) -> None:
    page = opened(open_page, viewed, f"{model}/decision?x={axes[0]}&y={axes[1]}", scheme=scheme)
    for name in filter(None, (model, beside)):
        canvas = page.locator(f".plane[aria-label='{name}'] canvas")
        canvas.wait_for()
        wait_for(page, "canvas => canvas.width === 64", canvas.element_handle())
        assert np.abs(pixels(page, name) - expected(page, viewed, name, *axes)).max() <= 1, name
    assert page.locator(".plane").count() == (2 if beside else 1)
    assert violations(page) == []


def test_the_colours_follow_the_theme(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "clusters/decision")
    light = pixels(page, "clusters")
    page.emulate_media(color_scheme="dark")
    wait_until(lambda: bool(np.abs(pixels(page, "clusters").astype(int) - light).max() > 50))
    dark = pixels(page, "clusters")
    assert np.abs(dark - expected(page, viewed, "clusters", "x1", "x2")).max() <= 1


def test_one_request_asks_for_all_points(viewed: Server, open_page: OpenPage) -> None:
    watched = open_page(f"{viewed.url}/#/models")
    asked: list[Any] = []
    watched.page.on("request", lambda one: asked.append(one.post_data_json) if one.url.endswith("/predict") else None)
    watched.page.evaluate("location.hash = '#/models/xor/decision'")
    watched.page.wait_for_selector(".plane:nth-child(2) canvas")
    assert sorted(one["model"] for one in asked) == ["xor-perceptron@1", "xor@1"]
    assert all(len(one["instances"]) == SIDE * SIDE for one in asked)


def test_the_point_is_moved_and_read_by_keyboard(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "xor/decision?beside=")
    page.locator(".square").focus()
    for key, times in (("ArrowLeft", 80), ("ArrowDown", 80)):
        for _ in range(times):
            page.keyboard.press(key)
    read = page.locator(".plane .reading").inner_text()
    points, detail = grid(viewed, "xor", "x1", "x2")
    answer = http_post(f"{viewed.url}/predict", json={"model": "xor", "instances": points[:1]}).json()
    assert read.startswith(f"{points[0]['x1']:.3g}, {points[0]['x2']:.3g}: {answer['predictions'][0]}, ")
    shown = float(read.rsplit(", ", 1)[1].removesuffix("%")) / 100
    assert shown == pytest.approx(max(answer["probabilities"][0]), abs=2e-3)
    assert detail["classes"] is not None


def test_other_columns_are_chosen_and_the_address_keeps_the_axes(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "iris/decision?x=petal_length&y=petal_width")
    before = pixels(page, "iris")
    page.get_by_text("The other columns").click()
    page.get_by_label("sepal_width, slider").focus()
    page.keyboard.press("End")
    wait_until(lambda: bool(np.abs(pixels(page, "iris").astype(int) - before).max() > 0))
    page.get_by_label("Across").select_option("petal_width")
    wait_for(page, "location.hash.includes('x=petal_width&y=petal_length')")
    page.reload()
    page.wait_for_selector(".plane canvas")
    assert page.get_by_label("Up").input_value() == "petal_length"


def test_a_model_without_a_plane_says_so(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/models/{MIXED}/decision").page
    page.get_by_text("A plane needs two columns of numbers").wait_for()
    assert violations(page) == []


def test_a_plane_whose_new_axes_fail_keeps_the_frame_and_the_dots_of_the_old_ones(
    viewed: Server, open_page: OpenPage
) -> None:
    page = opened(open_page, viewed, "iris/decision?x=petal_length&y=petal_width", allowed=("500",))
    marks = page.locator(".square .range, .square .dot")
    before = [mark.get_attribute("style") for mark in marks.all()]
    assert len(before) > 1
    page.route("**/predict", lambda route: route.fulfill(status=500, body="{}"))
    page.get_by_label("Across").select_option("sepal_width")
    page.locator(".plane .fault").wait_for()
    assert page.locator(".x-name").inner_text() == "petal_length"
    assert [mark.get_attribute("style") for mark in marks.all()] == before
    page.unroute("**/predict")
    page.get_by_label("Up").select_option("sepal_length")
    wait_for(page, "document.querySelector('.x-name').textContent === 'sepal_width'")
    assert [mark.get_attribute("style") for mark in marks.all()] != before


@pytest.mark.parametrize("width", [360, 800])
def test_a_plane_fits_a_telephone(viewed: Server, open_page: OpenPage, width: int) -> None:
    for model in ("xor", HOSTILE_MODEL):
        page = opened(open_page, viewed, f"{model}/decision", viewport={"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
