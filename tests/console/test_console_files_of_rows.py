"""Files of rows through the console: a fault of a row stays with this row, and nothing that was given is lost."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import OpenPage, violations
from serving import Server, http_get, http_post, make_checkpoint, numeric, running
from trying import code, run_shell

from models.columns.schema import CategoricalColumn, NumericTarget, Schema
from models.store import Store

TOWN = CategoricalColumn(name="town=a, b", categories=tuple(f"town {at}" for at in range(201)), unknown="ignore")
WIDE = ("it's", "AXON", "\nAXON\n", *(f"the measurement of number {at:05}" for at in range(4000)))
HEAD = "x1,x2,note"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("rows")
    store = Store(folder / "store")
    price = NumericTarget(name="price", mean=2, std=1, minimum=0, maximum=9)
    store.publish("sums", make_checkpoint(Schema(columns=(numeric("x1"), numeric("x2")), target=price), 4))
    store.publish("towns", make_checkpoint(Schema(columns=(numeric("x1"), numeric("x2"), TOWN), target=price), 4))
    wide = Schema(columns=tuple(numeric(name) for name in WIDE), target=price)
    store.publish("wide", make_checkpoint(wide, 4))
    with running(store.root, folder) as server:
        yield server


def opened(open_page: OpenPage, server: Server) -> Any:
    page = open_page(f"{server.url}/#/models/sums/try", allowed=("422", "502", "504")).page
    page.wait_for_selector(".prediction")
    return page


def choose(page: Any, content: str) -> None:
    page.locator("input[type=file]").set_input_files(
        {"name": "rows.csv", "mimeType": "text/csv", "buffer": content.encode()}
    )


def scored(page: Any, content: str) -> str:
    choose(page, content)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    return Path(download.value.path()).read_bytes().decode()


def records(text: str) -> list[list[str]]:
    usual = csv.field_size_limit(1 << 20)
    try:
        return list(csv.reader(io.StringIO(text, newline="")))
    finally:
        csv.field_size_limit(usual)


def predicted(server: Server, row: list[float]) -> float:
    answer = http_post(f"{server.url}/predict", json={"model": "sums", "instances": [row]}).json()
    return float(answer["predictions"][0])


LONG = f"0.5,1,{'z' * (1 << 18)}"
MALFORMED = {'0.5,1,"x"y': "not CSV: ", "0.5,1,a\rb": "not CSV: ", LONG: "not CSV: a line of more than 262,144 bytes"}


@pytest.mark.parametrize("is_first", [True, False])
def test_a_malformed_row_has_its_reason_and_the_other_rows_are_scored(
    plain: Server, open_page: OpenPage, is_first: bool
) -> None:
    page = opened(open_page, plain)
    rows = [[at / 10, -at / 20] for at in range(40)]
    lines = [f"{x1},{x2},row {at}" for at, (x1, x2) in enumerate(rows)]
    places = (0, 17, 31) if is_first else (5, 6, 39)
    for place, line in zip(places, MALFORMED, strict=True):
        lines[place] = line
    found = records(scored(page, "\n".join([HEAD, *lines]) + "\n"))
    assert found[0] == ["x1", "x2", "note", "prediction", "error"]
    assert len(found) == 41
    for at, (row, cells) in enumerate(zip(rows, found[1:], strict=True)):
        if at in places:
            assert cells[-1].startswith(MALFORMED[lines[at]])
            assert cells[-2] == ""
        else:
            assert cells[:3] == [str(row[0]), str(row[1]), f"row {at}"]
            assert float(cells[3]) == pytest.approx(predicted(plain, row), rel=1e-6)
            assert cells[4] == ""


def test_a_file_without_one_sound_row_is_refused_after_few_requests(plain: Server, open_page: OpenPage) -> None:
    page = opened(open_page, plain)
    asked: list[int] = []
    page.on("request", lambda one: asked.append(1) if "/predict?" in one.url else None)
    choose(page, "\n".join([HEAD, *["much,1,x"] * 3000]))
    alert = page.get_by_role("region", name="A whole table").get_by_role("alert")
    alert.wait_for()
    assert 'None of the 20 rows that were tried can be scored: x1: "much" is not a number' in alert.inner_text()
    assert len(asked) <= 20


@pytest.mark.parametrize("wrong", ["n/a,1,x", ",,", "0.5,1,a\rb"])
@pytest.mark.parametrize("places", [range(8), range(0, 3999, 39), range(5, 3500)], ids=["first", "some", "most"])
def test_wrong_rows_among_the_first_ones_leave_the_others_scored(
    plain: Server, open_page: OpenPage, wrong: str, places: range
) -> None:
    page = opened(open_page, plain)
    asked: list[int] = []
    page.on("request", lambda one: asked.append(1) if "/predict?" in one.url else None)
    lines = [f"{at},1,row {at}" for at in range(3999)]
    for place in places if "\r" not in wrong else places[:8]:
        lines[place] = wrong
    found = records(scored(page, "\n".join([HEAD, *lines])))
    assert [place for place, cells in enumerate(found[1:]) if cells[-1]] == [
        place for place, line in enumerate(lines) if line == wrong
    ]
    assert all(cells[3] for cells in found[1:] if not cells[-1])
    assert len(asked) < 120 + len(places) / 4


def test_many_wrong_rows_are_not_sent_again_and_again(plain: Server, open_page: OpenPage) -> None:
    page = opened(open_page, plain)
    sent: list[int] = []
    page.on("request", lambda one: sent.append(len(one.post_data.splitlines()) - 1) if "/predict?" in one.url else None)
    number = 1000
    lines = ["0.5,1,sound"] * 4000 + ["much,1,x"] * number
    found = records(scored(page, "\n".join([HEAD, *lines])))
    assert [cells[-1] for cells in found[1:4001]] == [""] * 4000
    assert {cells[-1] for cells in found[4001:]} == {'x1: "much" is not a number'}
    assert sum(sent) - 4000 < 8 * number
    assert len(sent) < number / 8


def test_nothing_that_was_given_is_lost(plain: Server, open_page: OpenPage) -> None:
    page = opened(open_page, plain)
    text = scored(page, f'\ufeff{HEAD}\r\n0.5,1,kept\r\n1,2,three,"four, five",six\r\n1,2\r\n')
    assert text.startswith(f"\ufeff{HEAD},prediction,error\r\n")
    _, first, surplus, short = records(text)
    assert first[:3] == ["0.5", "1", "kept"]
    assert surplus == ["1", "2", "three", "", "the row has 5 cells where the first line has 3", "four, five", "six"]
    assert short == ["1", "2", "", "", "the row has 2 cells where the first line has 3"]


def test_a_proxy_that_fails_once_and_an_answer_that_breaks_off_end_no_file(plain: Server, open_page: OpenPage) -> None:
    page = opened(open_page, plain)
    page.evaluate(
        """() => {
            const fetched = window.fetch;
            const broken = new ReadableStream({ pull: (to) => to.error(new TypeError('network error')) });
            const faults = [null, () => new Response('Bad gateway', { status: 502 }), () => new Response(broken),
                () => new Response('', { status: 504 })];
            window.fetch = (address, options) => {
                const fault = String(address).includes('/predict?') ? faults.shift() : null;
                return fault ? Promise.resolve(fault()) : fetched(address, options);
            };
        }"""
    )
    lines = [f"{at},1,x" for at in range(8000)]
    found = records(scored(page, "\n".join([HEAD, *lines])))
    assert [cells[0] for cells in found[1:]] == [str(at) for at in range(8000)]
    assert all(float(cells[3]) > -1e9 for cells in found[1:])


def test_a_file_whose_rows_all_have_another_width_is_refused(plain: Server, open_page: OpenPage) -> None:
    page = opened(open_page, plain)
    choose(page, "\n".join([HEAD, *["0.5,1,x,"] * 5]))
    alert = page.get_by_role("region", name="A whole table").get_by_role("alert")
    alert.wait_for()
    wanted = "None of the first rows can be scored: the row has 4 cells where the first line has 3"
    assert wanted in alert.inner_text()


def test_a_category_that_training_did_not_see_is_told(plain: Server, open_page: OpenPage) -> None:
    page = open_page(f"{plain.url}/#/models/towns/try").page
    page.wait_for_selector(".prediction")
    field = page.get_by_label(TOWN.name, exact=True)
    assert page.get_by_text("Training did not see").count() == 0
    field.fill("Atlantis")
    note = page.get_by_text("Training did not see this category.")
    note.wait_for()
    assert field.get_attribute("aria-describedby") == note.get_attribute("id")
    assert field.get_attribute("aria-invalid") is None
    page.get_by_role("region", name="Answer").get_by_text("the categories of 1 cell: 1 of town=a, b.").wait_for()
    assert violations(page) == []
    field.fill("town 7")
    note.wait_for(state="detached")
    names = ["town 7", "Atlantis", "Thule"] * 2000
    text = "\n".join(['x1,x2,"town=a, b"', *(f"1,2,{name}" for name in names)])
    page.get_by_text("A whole table").wait_for()
    found = records(scored(page, text))
    assert len(found) == len(names) + 1
    status = page.get_by_role("region", name="A whole table").get_by_role("status").inner_text()
    assert "Training did not see the categories of 4000 cells: 4000 of town=a, b." in status
    page.evaluate("location.hash = '#/models/towns/decision'")
    page.wait_for_selector(".plane canvas")
    page.get_by_text("The other columns").click()
    page.get_by_label(TOWN.name, exact=True).fill("Atlantis")
    page.locator(".plane").get_by_text("the categories of 4096 cells").wait_for()
    assert violations(page) == []


def test_the_code_of_a_wide_model_can_be_run(plain: Server, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(f"{plain.url}/#/models/wide/try").page
    page.wait_for_selector(".prediction")
    row = http_get(f"{plain.url}/models/wide").json()["example"]["instances"][0]
    expected = http_post(f"{plain.url}/predict", json={"model": "wide", "instances": [row]}).json()
    (tmp_path / "asked.sh").write_text(code(page, "curl"))
    assert run_shell("bash asked.sh", tmp_path) == expected
    (tmp_path / "asked.sh").write_text(code(page, "Open Inference Protocol"))
    assert run_shell("bash asked.sh", tmp_path)["outputs"][0]["data"] == expected["predictions"]
