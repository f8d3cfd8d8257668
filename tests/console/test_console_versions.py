"""The views while versions change under a page: names and values come from one version."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browsing import OpenPage, wait_for
from serving import Server, http_get, http_post, make_checkpoint, numeric, running, wait_until

from models.columns.schema import ClassTarget, Schema
from models.store import Store

OLD, NEW = ("red", "green", "blue"), ("one", "two")
COLUMNS = tuple(numeric(f"x{at}") for at in range(2))


def publish(store: Store, labels: tuple[str, ...]) -> None:
    schema = Schema(columns=COLUMNS, target=ClassTarget(name="kind", labels=labels))
    store.publish("colours", make_checkpoint(schema, 8))


def change_classes(store: Store, server: Server) -> None:
    """Publishes a version with other classes, and waits until the bare name means this version."""
    publish(store, NEW)
    wait_until(lambda: http_get(f"{server.url}/models/colours").json()["version"] == 2)


def answer_of(server: Server, row: Any) -> dict[str, Any]:
    answer = http_post(f"{server.url}/predict", json={"model": "colours@1", "instances": [row]})
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def changing(tmp_path: Path) -> Any:
    store = Store(tmp_path / "store")
    publish(store, OLD)
    with running(store.root, tmp_path) as server:
        yield server, lambda: change_classes(store, server)


def test_an_open_form_keeps_its_version_when_another_one_is_published(
    changing: tuple[Server, Callable[[], None]], open_page: OpenPage
) -> None:
    server, change = changing
    page = open_page(f"{server.url}/#/models/colours/try").page
    page.wait_for_selector(".prediction")
    change()
    asked: list[str] = []
    page.on("request", lambda one: asked.append(f"{one.url} {one.post_data}") if one.method == "POST" else None)
    page.get_by_label("x0, slider").focus()
    page.keyboard.press("End")
    wait_for(page, "document.querySelector('.reasons') && !document.querySelector('.stale')")
    x0 = float(page.get_by_label("x0", exact=True).input_value())
    x1 = float(page.get_by_label("x1", exact=True).input_value())
    answer = answer_of(server, [x0, x1])
    bars = page.get_by_role("region", name="Answer").locator(".meters li").all()
    assert [bar.locator(".meter-name").inner_text() for bar in bars] == list(OLD)
    shown = [float(bar.locator(".meter-value").inner_text().removesuffix("%")) / 100 for bar in bars]
    assert shown == pytest.approx(answer["probabilities"][0], abs=1e-3)
    assert page.locator(".prediction").inner_text().startswith(answer["predictions"][0])
    assert any("/explain" in one for one in asked)
    assert all("colours@1" in one or "colours%401" in one for one in asked), asked
    assert '"model": "colours"' in page.locator("pre.code").inner_text(), "the code names the model as the user did"
    text = "x0,x1\n1,2\n-1,0.5\n"
    page.locator("input[type=file]").set_input_files(
        {"name": "rows.csv", "mimeType": "text/csv", "buffer": text.encode()}
    )
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    wanted = [answer_of(server, row)["predictions"][0] for row in ([1, 2], [-1, 0.5])]
    assert [row["prediction"] for row in rows] == wanted
    assert page.get_by_text("scored by colours@1").count() == 1


def test_an_open_plane_keeps_its_version_when_another_one_is_published(
    changing: tuple[Server, Callable[[], None]], open_page: OpenPage
) -> None:
    server, change = changing
    page = open_page(f"{server.url}/#/models/colours/decision").page
    page.wait_for_selector(".plane canvas")
    change()
    with page.expect_request("**/predict") as asked:
        page.get_by_label("Across").select_option("x1")
    assert asked.value.post_data_json["model"] == "colours@1"
    wait_for(page, "document.querySelector('.x-name').textContent === 'x1'")
    assert page.locator(".plane .reading").inner_text().split(": ")[1].split(",")[0] in OLD
