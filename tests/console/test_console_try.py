"""The view in which a model is tried: the form, the answer and its reasons, the request as code, and tables in CSV."""

from __future__ import annotations

import csv
import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from browsing import HOSTILE, HOSTILE_MODEL, OpenPage, violations, wait_for
from serving import Server, http_get, http_post
from trying import code, opened, row_of, run_python, run_shell, settled
from viewed_models import MIXED, RISE, mixed_table

import axon
from models.store import Store
from training.datasets import dataset

SCHEMES = ["light", "dark"]


def predicted(server: Server, model: str, row: dict[str, Any]) -> dict[str, Any]:
    answer = http_post(f"{server.url}/predict", json={"model": model, "instances": [row]})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def shown_probabilities(page: Any) -> list[float]:
    bars = page.get_by_role("region", name="Answer").locator(".meter-value").all()
    return [float(bar.inner_text().replace("%", "").replace(",", "")) / 100 for bar in bars]


def answer_is(page: Any, label: str) -> None:
    wait_for(page, "label => document.querySelector('.prediction').textContent.startsWith(label)", label)


def test_the_form_begins_with_a_typical_row_and_its_answer(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "iris")
    detail = http_get(f"{viewed.url}/models/iris").json()
    row = row_of(page)
    assert row == detail["example"]["instances"][0]
    answer = predicted(viewed, "iris", row)
    answer_is(page, answer["predictions"][0])
    assert shown_probabilities(page) == pytest.approx(answer["probabilities"][0], abs=2e-3)
    for column in detail["columns"]:
        slider = page.get_by_label(f"{column['name']}, slider")
        assert float(slider.get_attribute("min")) <= column["minimum"]
        assert float(slider.get_attribute("max")) >= column["maximum"]


def test_a_slider_moves_the_answer(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "iris")
    before = row_of(page)
    slider = page.get_by_label("petal_length, slider")
    slider.focus()
    page.keyboard.press("Home")
    page.get_by_label("petal_width, slider").focus()
    page.keyboard.press("Home")
    answer_is(page, "setosa")
    settled(page)
    row = row_of(page)
    assert {name for name in row if row[name] != before[name]} == {"petal_length", "petal_width"}
    answer = predicted(viewed, "iris", row)
    assert shown_probabilities(page) == pytest.approx(answer["probabilities"][0], abs=2e-3)
    wait_for(page, "document.querySelector('[aria-live=polite]').textContent.startsWith('setosa, ')")


def test_one_request_is_in_flight_and_the_last_answer_is_that_of_the_last_row(
    viewed: Server, open_page: OpenPage
) -> None:
    page = opened(open_page, viewed, "iris")
    settled(page)
    page.evaluate(
        """() => {
            const [fetched, flights] = [window.fetch, { now: 0, most: 0, all: 0 }];
            window.flights = flights;
            window.fetch = (address, options) => {
                if (!String(address).endsWith('/predict')) return fetched(address, options);
                flights.all += 1;
                flights.now += 1;
                flights.most = Math.max(flights.most, flights.now);
                return fetched(address, options).finally(() => { flights.now -= 1; });
            };
        }"""
    )
    page.evaluate(
        """async () => {
            const slider = document.querySelector('[aria-label="petal_length, slider"]');
            for (let step = 0; step <= 200; step += 1) {
                slider.value = 1 + 5 * step / 200;
                slider.dispatchEvent(new Event('input', { bubbles: true }));
                if (step % 20 === 0) await new Promise(requestAnimationFrame);
            }
        }"""
    )
    settled(page)
    flights = page.evaluate("window.flights")
    assert flights["most"] == 1
    assert 1 <= flights["all"] < 100
    answer = predicted(viewed, "iris", row_of(page))
    assert shown_probabilities(page) == pytest.approx(answer["probabilities"][0], abs=2e-3)


def test_the_reasons_are_those_of_the_api(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "iris")
    page.get_by_role("button", name=re.compile("row 3$")).click()
    settled(page)
    told = http_post(f"{viewed.url}/models/iris/explain", json={"instances": [row_of(page)]}).json()["explanations"][0]
    lines = page.get_by_role("region", name="Reasons").locator("li").all()
    assert len(lines) == len(told["reasons"])
    for line, reason in zip(lines, told["reasons"], strict=True):
        text = line.locator(".meter-value").inner_text()
        assert line.locator(".meter-name").inner_text().startswith(reason["column"])
        assert float(text.replace("e", "E")) == pytest.approx(reason["contribution"], rel=2e-2, abs=1e-9)
        bar = line.locator(".meter > span").get_attribute("style")
        assert ("--negative" in bar) == (reason["contribution"] < 0)


def test_dates_names_and_gaps_have_fields_of_their_own(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, MIXED)
    page.get_by_label("when", exact=True).fill("2025-06-01")
    page.get_by_label("colour", exact=True).select_option("a, \"b\" & 'c'")
    page.get_by_label("size is missing").check()
    assert page.get_by_label("size", exact=True).is_disabled()
    settled(page)
    row = row_of(page)
    assert row == {"when": "2025-06-01", "colour": "a, \"b\" & 'c'", "size": None}
    answer = predicted(viewed, MIXED, row)
    assert shown_probabilities(page) == pytest.approx(answer["probabilities"][0], abs=2e-3)
    assert page.get_by_label("when is missing").count() == 0, "the column has no gaps in training"


def test_a_value_that_the_server_refuses_is_told_at_its_field(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/models/iris/try", allowed=("422",)).page
    page.wait_for_selector(".prediction")
    field = page.get_by_label("sepal_width", exact=True)
    field.fill("1e39")
    fault = page.locator(".cell .fault")
    fault.wait_for()
    refused = http_post(f"{viewed.url}/predict", json={"model": "iris", "instances": [row_of(page)]}).json()
    assert fault.inner_text() == refused["errors"][0]["message"]
    assert field.get_attribute("aria-describedby") == fault.get_attribute("id")
    field.fill("3.5")
    fault.wait_for(state="detached")
    settled(page)


def test_a_regression_shows_a_value(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, RISE)
    settled(page)
    [value] = predicted(viewed, RISE, row_of(page))["predictions"]
    shown = page.locator(".prediction").inner_text().split()[0]
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=1e-4)


@pytest.mark.parametrize("model", ["iris", MIXED, HOSTILE_MODEL])
def test_the_code_asks_for_what_is_on_the_page(viewed: Server, open_page: OpenPage, model: str, tmp_path: Path) -> None:
    page = opened(open_page, viewed, model)
    if model == MIXED:
        page.get_by_label("colour", exact=True).select_option("a, \"b\" & 'c'")
    settled(page)
    expected = predicted(viewed, model, row_of(page))
    assert run_shell(code(page, "curl"), tmp_path) == expected
    inferred = run_shell(code(page, "Open Inference Protocol"), tmp_path)
    outputs = {one["name"]: one["data"] for one in inferred["outputs"]}
    assert outputs["predictions"] == expected["predictions"]
    assert outputs["probabilities"] == pytest.approx(expected["probabilities"][0])
    assert run_python(code(page, "Python"), tmp_path).startswith(str(expected["predictions"]))


def flowers_csv(delimiter: str = ",") -> str:
    table = dataset("iris").load()
    text = io.StringIO(newline="")
    names = list(table.columns)
    writer = csv.DictWriter(text, names, delimiter=delimiter)
    writer.writeheader()
    writer.writerows(
        dict(zip(names, row, strict=True))
        for row in zip(*(table.columns[name].to_pylist() for name in names), strict=True)
    )
    return text.getvalue()


def download(page: Any) -> str:
    link = page.get_by_role("link", name=re.compile("^Download"))
    link.wait_for()
    with page.expect_download() as caught:
        link.click()
    return Path(caught.value.path()).read_bytes().decode()


def choose_file(page: Any, name: str, content: str | bytes) -> None:
    buffer = content.encode() if isinstance(content, str) else content
    page.locator("input[type=file]").set_input_files({"name": name, "mimeType": "text/csv", "buffer": buffer})


def drop_file(page: Any, name: str, content: str) -> None:
    page.evaluate(
        """([name, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([content], name, { type: 'text/csv' }));
            for (const type of ['dragover', 'drop']) {
                const event = new DragEvent(type, { bubbles: true, cancelable: true, dataTransfer: data });
                document.querySelector('main').dispatchEvent(event);
            }
        }""",
        [name, content],
    )


def answers_of(server: Server, model: str, text: str, *, more: str = "") -> list[dict[str, str]]:
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = http_post(f"{server.url}/predict?model={model}{more}", content=text.encode(), headers=headers)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_comes_back_with_the_servers_answers(viewed: Server, open_page: OpenPage, delimiter: str) -> None:
    page = opened(open_page, viewed, "iris")
    text = flowers_csv(delimiter)
    choose_file(page, "flowers.csv", text)
    scored = list(csv.DictReader(io.StringIO(download(page), newline=""), delimiter=delimiter))
    given = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    answers = answers_of(viewed, "iris", text)
    assert scored == [row | answer for row, answer in zip(given, answers, strict=True)]
    region = page.get_by_role("region", name="A whole table")
    assert "150 rows scored by iris@1." in region.get_by_role("status").inner_text()


@pytest.mark.parametrize(
    ("model", "label", "columns"), [("iris", "Set of labels", ["set"]), (RISE, "Interval", ["low", "high"])]
)
def test_a_table_comes_back_with_the_chosen_intervals(
    viewed: Server, open_page: OpenPage, model: str, label: str, columns: list[str]
) -> None:
    page = opened(open_page, viewed, model)
    text = flowers_csv() if model == "iris" else "x1,x2\n0.5,1\n-1,0.25\n0,0\n"
    given = list(csv.DictReader(io.StringIO(text, newline="")))
    for level, option in (("0.9", "90 %"), ("0.8", "80 %"), ("none", "none")):
        page.get_by_label(label, exact=True).select_option(option)
        added = "answers beside" if level == "none" else f"answers and {option}"
        page.get_by_role("region", name="A whole table").get_by_text(added).wait_for()
        drop_file(page, f"rows-{level}.csv", text)
        page.get_by_text(f"rows-{level}.csv: {len(given)} rows scored").wait_for()
        scored = list(csv.DictReader(io.StringIO(download(page), newline="")))
        answers = answers_of(viewed, model, text, more="" if level == "none" else f"&intervals={level}")
        assert scored == [row | answer for row, answer in zip(given, answers, strict=True)]
        assert list(scored[0])[-len(columns) :] == columns or level == "none"


def test_a_table_of_many_requests_and_quoted_cells_is_scored_in_order(
    viewed: Server, open_page: OpenPage, tmp_path: Path
) -> None:
    table = mixed_table()
    many = table.loc[table.index.repeat(40)].assign(note=lambda t: [f'row {i}, "x"\nend' for i in range(len(t))])
    text = many.to_csv(index=False)
    path = tmp_path / "many.csv"
    path.write_text(text)
    page = opened(open_page, viewed, MIXED)
    asked: list[str] = []
    page.on("request", lambda one: asked.append(one.url) if "/predict?" in one.url else None)
    page.locator("input[type=file]").set_input_files(path)
    scored = list(csv.DictReader(io.StringIO(download(page), newline="")))
    assert [row["note"] for row in scored] == list(many.note)
    answers = answers_of(viewed, MIXED, text)
    assert [{name: row[name] for name in answers[0]} for row in scored] == answers
    assert len(asked) == 3
    here = axon.load(MIXED, store=viewed.environment["AXON_STORE"]).predict(many.drop(columns=["late", "note"]))
    assert [row["prediction"] for row in scored] == [str(label) for label in here]


def test_rows_that_are_wrong_are_told_and_the_others_are_scored(viewed: Server, open_page: OpenPage) -> None:
    page = open_page(f"{viewed.url}/#/models/iris/try", allowed=("422",)).page
    page.wait_for_selector(".prediction")
    lines = flowers_csv().splitlines()
    for row in range(3, 150, 6):
        lines[row] = f"much,{lines[row].split(',', 1)[1]}"
    lines[10] = "1,2,3"
    text = "\n".join(lines)
    choose_file(page, "flowers.csv", text)
    scored = list(csv.DictReader(io.StringIO(download(page), newline="")))
    wrong = {*range(3, 150, 6), 10}
    assert {row for row, one in enumerate(scored, 1) if one["error"]} == wrong
    assert scored[2]["error"] == 'sepal_length: "much" is not a number'
    assert scored[9]["error"] == "the row has 3 cells where the first line has 5"
    sound = [line for row, line in enumerate(lines) if row not in wrong]
    answers = answers_of(viewed, "iris", "\n".join(sound))
    assert [one["prediction"] for one in scored if not one["error"]] == [one["prediction"] for one in answers]
    told = page.get_by_role("region", name="A whole table").locator("tbody tr").all()
    assert [int(one.locator("th").inner_text()) for one in told] == sorted(wrong)
    assert violations(page) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"sepal_length,sepal_width\n1,2\n", "lacks"),
        (b"\xff\xfea\x00", "UTF-8"),
        (b"", "no rows"),
        (b"sepal_length,sepal_width,petal_length,petal_width\n", "no rows"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_with_a_reason(
    viewed: Server, open_page: OpenPage, content: bytes, said: str
) -> None:
    page = open_page(f"{viewed.url}/#/models/iris/try", allowed=("422",)).page
    page.wait_for_selector(".prediction")
    choose_file(page, "wrong.csv", content)
    alert = page.get_by_role("region", name="A whole table").get_by_role("alert")
    alert.wait_for()
    assert said in alert.inner_text()


def test_a_file_is_dropped_and_its_scoring_is_cancelled(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, "iris")
    text = flowers_csv()
    head, _, rows = text.partition("\r\n")
    page.route("**/predict?*", lambda route: (time.sleep(0.1), route.continue_())[-1])
    drop_file(page, "large.csv", "".join([head, "\r\n", *[rows] * 400]))
    page.get_by_role("progressbar").wait_for()
    wait_for(page, "Number(document.querySelector('progress').value) > 0")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_text("large.csv was cancelled after").wait_for()
    assert page.get_by_role("link", name=re.compile("^Download")).count() == 0


def test_hostile_names_are_texts_in_the_form(viewed: Server, open_page: OpenPage) -> None:
    page = opened(open_page, viewed, HOSTILE_MODEL)
    settled(page)
    text = page.locator("main").inner_text()
    for name in HOSTILE[:3]:
        assert name in text
    assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("model", ["iris", MIXED, RISE, HOSTILE_MODEL])
def test_axe_finds_nothing_to_try(viewed: Server, open_page: OpenPage, scheme: str, model: str) -> None:
    page = opened(open_page, viewed, model, scheme=scheme)
    settled(page)
    assert violations(page) == []


@pytest.mark.parametrize("width", [360, 800, 1600])
def test_nothing_to_try_scrolls_sideways(viewed: Server, open_page: OpenPage, width: int) -> None:
    for model in ("iris", HOSTILE_MODEL):
        page = opened(open_page, viewed, model, viewport={"width": width, "height": 800})
        settled(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_answer_comes_back_after_a_restart(viewed_store: Store, tmp_path: Path, open_page: OpenPage) -> None:
    server = Server(viewed_store.root, tmp_path)
    away = ("Failed to load resource", "ERR_CONNECTION", "ERR_EMPTY", "503")
    try:
        server.start()
        page = opened(open_page, server, "iris", allowed=away)
        settled(page)
        server.stop()
        page.get_by_label("petal_length, slider").focus()
        page.keyboard.press("Home")
        page.get_by_text("The server does not answer.").first.wait_for()
        server.start()
        wait_for(page, "!document.querySelector('.fault')")
        settled(page)
        answer = predicted(server, "iris", row_of(page))
        assert shown_probabilities(page) == pytest.approx(answer["probabilities"][0], abs=2e-3)
        server.stop()
    finally:
        server.kill()
