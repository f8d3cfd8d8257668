"""`axon.Client` and `axon.AsyncClient` on a real server: each answer against that of `axon.load(…)` in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from serving import Server, running

import axon
from axon.client import (
    Answer,
    AsyncClient,
    Client,
    DeadlinePassed,
    Forbidden,
    ModelUnknown,
    RequestRefused,
    RowsRefused,
    Unauthenticated,
)
from axon.client.prediction import Progress
from models.errors import DataError
from models.store import Store
from service.access import new_key
from training.data.column_choices import ColumnChoices

ROWS = 240
QUICK: dict[str, Any] = {"epochs": 3, "hidden_sizes": (8,), "progress": False}


def people(seed: int = 3) -> pd.DataFrame:
    """Returns a frame with every kind of column, and gaps."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 90, ROWS).astype(float)
    town = rng.choice(["Ulm", "Bonn", "Kiel", "10115"], ROWS).astype(object)
    joined = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500 * 24, ROWS), unit="h")
    frame = pd.DataFrame(
        {
            "age": age,
            "height": rng.normal(170, 9, ROWS),
            "town": town,
            "joined": joined,
            "member": rng.random(ROWS) < 0.5,
            "buys": np.where((age > 50) ^ (town == "Kiel"), "yes", "no"),
        }
    )
    frame.loc[::17, "age"] = np.nan
    frame.loc[::19, "town"] = None
    frame.loc[::23, "joined"] = pd.NaT
    return frame


def numbers(seed: int = 1) -> pd.DataFrame:
    """Returns a frame of numbers, with targets of several types."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame["far"] = 3 * frame["a"] + 1e9
    frame["value"] = 3 * frame["a"] - frame["b"]
    frame["text"] = np.where(frame["a"] > 0, "grün", "rot, 1")
    frame["whole"] = np.where(frame["a"] > 0, 7, -3)
    frame["truth"] = frame["a"] > 0
    frame["point"] = np.where(frame["a"] > 0, 1.5, 2.0)
    return frame


def typed(seed: int = 9) -> pd.DataFrame:
    """Returns a frame with typed names (moments in a time zone, days, small decimals), and with truth values."""
    rng = np.random.default_rng(seed)
    day = pd.Timestamp("2024-05-31") + pd.to_timedelta(rng.integers(0, 3, ROWS), unit="D")
    moment = (day + pd.Timedelta("3h")).tz_localize("UTC").tz_convert("Asia/Tokyo")
    small = [Decimal(int(digit)) * Decimal("0.0000001") for digit in rng.integers(0, 3, ROWS)]
    columns = {"day": day, "moment": moment, "small": small, "smoker": rng.random(ROWS) < 0.4}
    return pd.DataFrame(columns | {"buys": np.where(day.day > 1, "yes", "no")})


IDS = (1234567890123456789, 1234567890123456768, 134217744, 134217740)  # as floats, two of them
PRICES = (0.1, 0.25, 0.7, 1.1)


def trained(name: str) -> pd.DataFrame:
    """Returns a frame with numbers for names: those of `IDS` or `PRICES`."""
    cells = np.array(IDS) if name == "ids" else np.array(PRICES, dtype=np.float32)
    places = np.arange(ROWS) % len(cells)
    return pd.DataFrame({"id": cells[places], "b": places % 2, "value": 10.0 * places})


TARGETS = ("far", "value", "text", "whole", "truth", "point")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("client") / "store")
    axon.fit(people(), target="buys", name="people", **QUICK).publish(store, report=False)
    for target in TARGETS:
        frame = numbers()[["a", "b", "c", target]]
        axon.fit(frame, target=target, name=target, **QUICK).publish(store, report=False)
    gaps = numbers()[["a", "b", "value"]]
    gaps.loc[::7, "a"] = np.nan
    axon.fit(gaps, target="value", name="gaps", **QUICK).publish(store, report=False)
    choices = ColumnChoices(categorical=("day", "moment", "small"), numeric=("smoker",), unknown="refuse")
    axon.fit(typed(), target="buys", name="typed", choices=choices, **QUICK).publish(store, report=False)
    for name in ("ids", "prices"):
        choices = ColumnChoices(categorical=("id",))
        model = axon.fit(trained(name), target="value", name=name, choices=choices, **{**QUICK, "epochs": 60})
        model.publish(store, report=False)
    choices = ColumnChoices(unknown="refuse")
    axon.fit(people(), target="buys", name="strict", choices=choices, **QUICK).publish(store, report=False)
    return store


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store.root, tmp_path_factory.mktemp("server"), max_body_bytes=200_000, max_request_rows=500) as server:
        yield server


class Asker:
    """A client of one kind, whose calls look alike for tests."""

    def __init__(self, kind: str, url: str, api_key: str | None = None, **settings: Any) -> None:
        self._kind, self._url, self._settings = kind, url, {"api_key": api_key, **settings}

    def predict(self, rows: Any, model: str | None = None, **options: Any) -> Answer:
        """Asks by a new client."""
        if self._kind == "sync":
            with Client(self._url, **self._settings) as client:
                return client.predict(rows, model, **options)

        async def run() -> Answer:
            async with AsyncClient(self._url, **self._settings) as client:
                return await client.predict(rows, model, **options)

        return asyncio.run(run())


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of client."""
    kind: str = request.param
    return kind


def check(answer: Answer, store: Store, reference: str, rows: Any) -> None:
    """Checks an answer against the model in this process."""
    local = axon.load(reference, store)
    if local.classes:
        assert answer.predictions == local.predict(rows)
        assert {type(label) for label in answer.predictions} <= {type(label) for label in local.classes}
        assert answer.classes == local.classes
        assert answer.probabilities is not None
        np.testing.assert_allclose(answer.probabilities, local.predict_proba(rows), atol=1e-6)
    else:
        assert answer.probabilities is None
        assert answer.predictions == pytest.approx(local.predict(rows), rel=1e-12, abs=1e-4)
    assert f"{answer.model}@{answer.version}" == local.reference


def test_every_kind_of_column_in_every_kind_of_table(kind: str, server: Server, store: Store) -> None:
    frame = people(seed=5)
    ask = Asker(kind, server.url)
    expected = ask.predict(frame, "people")
    check(expected, store, "people", frame)
    wire = frame.drop(columns="buys").astype(object).where(frame.drop(columns="buys").notna(), None)
    wire["joined"] = [None if moment is None else moment.isoformat() for moment in wire["joined"]]
    rows = wire.to_dict("records")
    tables = {
        "arrow": pa.Table.from_pandas(frame, preserve_index=False),
        "another order and index": frame[list(reversed(frame.columns))].set_index(frame["height"] * 2),
        "types of pandas' own": frame.convert_dtypes(),
        "mappings": rows,
        "lists": [list(row.values()) for row in rows],
    }
    for what, table in tables.items():
        answer = ask.predict(table, "people")
        assert answer.predictions == expected.predictions, what
        np.testing.assert_array_equal(answer.probabilities, expected.probabilities)
        assert answer.classes == expected.classes
    one = ask.predict(rows[5], "people")
    assert one.predictions == ask.predict(frame.iloc[5], "people").predictions == expected.predictions[5:6]


def test_typed_cells_of_names_are_those_of_training(kind: str, server: Server, store: Store) -> None:
    frame = typed()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    expected = axon.load("typed", store).predict_proba(frame)
    for rows in (frame, table, frame.astype({"day": "period[D]"})):
        np.testing.assert_array_equal(axon.load("typed", store).predict_proba(rows), expected)
        check(Asker(kind, server.url).predict(rows, "typed"), store, "typed", frame)
    with Client(server.url) as client:
        assert len(client.explain(frame[:2], "typed").rows) == 2
    scored = axon.Scorer("typed", store)(table)
    np.testing.assert_allclose(scored["probability yes"].to_numpy(), expected[:, 1], atol=1e-6)


def test_numbers_name_the_same_categories_in_every_form(kind: str, server: Server, store: Store) -> None:
    places = np.arange(ROWS) % len(IDS)
    whole = np.array([[IDS[place], place % 2] for place in places])
    assert whole.dtype == np.int64
    short = np.array([[PRICES[place % len(PRICES)], place % 2] for place in places], dtype=np.float32)
    for model, rows in (("ids", whole), ("ids", whole.astype(np.uint64)), ("prices", short)):
        expected = axon.load(model, store).predict(trained(model).drop(columns="value"))[: len(IDS)]
        assert len(set(expected)) == len(set(rows[:, 0].tolist())), "each category has an answer of its own"
        answers = [
            Asker(kind, server.url, binary=binary).predict(some, model).predictions
            for binary in (True, False)
            for some in (rows, rows[: len(IDS)], list(rows))
        ]
        for answer in (*answers, axon.load(model, store).predict(rows)):
            assert answer[: len(IDS)] == pytest.approx(expected, rel=1e-5), model
    with Client(server.url) as client:
        assert [client.predict(short, "prices").predictions for _ in range(2)] == [answers[0]] * 2
        cells = [{"id": Decimal(f"{price:.2f}"), "b": 0} for price in PRICES]
        spelled = client.predict(cells, "prices")
        assert spelled.unknown == {"id": 3}, "0.10 is not 0.1, as in a table"


@pytest.mark.parametrize("target", TARGETS)
def test_numbers_in_every_wire_format(kind: str, target: str, server: Server, store: Store) -> None:
    frame = numbers(seed=2)[["a", "b", "c"]]
    answers = [
        Asker(kind, server.url, binary=binary).predict(rows, target)
        for binary in (True, False)
        for rows in (frame, frame.to_numpy(), frame.to_numpy().tolist(), pa.Table.from_pandas(frame))
    ]
    check(answers[0], store, target, frame)
    for answer in answers[1:]:
        assert answer.predictions == answers[0].predictions
        assert list(map(type, answer.predictions)) == list(map(type, answers[0].predictions))
        np.testing.assert_array_equal(answer.probabilities, answers[0].probabilities)
    narrow = frame.to_numpy().astype(np.float32)
    check(Asker(kind, server.url).predict(narrow, target), store, target, narrow)
    check(Asker(kind, server.url).predict(narrow, f"{target}@1"), store, target, narrow)
    check(Asker(kind, server.url).predict(narrow, f"{target}@latest"), store, target, narrow)


def test_numbers_travel_in_the_form_with_fewer_bytes(server: Server) -> None:
    frame = numbers(seed=2)[["a", "b", "c"]]
    sent: list[httpx.Request] = []
    with Client(server.url) as client, Client(server.url, binary=False) as plain:
        for one in (client, plain):
            one.model("text")
            one._http.event_hooks = {"request": [sent.append]}
            for rows in (frame, frame.to_numpy(), frame.to_numpy().astype(np.float32), frame.to_numpy()[:2]):
                one.predict(rows, "text")
    posts = [request for request in sent if request.method == "POST"]
    paths = [request.url.path for request in posts]
    assert paths == [*["/v2/models/text/infer"] * 3, "/predict", *["/predict"] * 4]
    for binary, text in zip(posts[:3], posts[4:7], strict=True):
        assert len(binary.content) < len(text.content)
    assert len(posts[2].content) < 0.6 * len(posts[1].content)


def test_gaps_among_numbers(kind: str, server: Server, store: Store) -> None:
    frame = numbers(seed=4)[["a", "b"]]
    frame.loc[::5, "a"] = np.nan
    for rows in (frame, frame.to_numpy(), frame.convert_dtypes(), pa.Table.from_pandas(frame)):
        check(Asker(kind, server.url).predict(rows, "gaps"), store, "gaps", frame)


def test_an_answer_stands_beside_the_rows(server: Server) -> None:
    frame = people(seed=5).set_index(pd.Index(range(100, 100 + ROWS), name="n"))
    with Client(server.url) as client:
        answer = client.predict(frame, "people")
        shown = answer.to_pandas()
        assert shown.index.equals(frame.index)
        assert list(shown.columns) == ["prediction", "probability no", "probability yes"]
        assert shown["prediction"].tolist() == answer.predictions == list(answer)
        assert (shown[["probability no", "probability yes"]].idxmax(axis=1).str[12:] == shown["prediction"]).all()
        table = answer.to_arrow()
        assert table.column_names == list(shown.columns)
        assert table.column("prediction").to_pylist() == answer.predictions
        assert len(client.predict([[1, 2, 3]] * 3, "value").to_arrow()) == 3
        assert client.predict([{"a": 1, "b": 2, "c": 3}], "truth").to_pandas().columns[1] == "probability false"


@pytest.mark.parametrize("binary", [True, False])
def test_many_rows_are_cut_and_put_together(kind: str, binary: bool, server: Server, store: Store) -> None:
    rows = np.random.default_rng(0).normal(size=(3003, 3))
    told: list[tuple[int, int]] = []
    progress: Progress = lambda done, of: told.append((done, of))  # noqa: E731
    answer = Asker(kind, server.url, binary=binary, rows_per_request=400).predict(rows, "text", progress=progress)
    check(answer, store, "text", rows)
    assert told == [(min(done + 400, 3003), 3003) for done in range(0, 3003, 400)]
    small = Asker(kind, server.url, binary=binary, bytes_per_request=2000).predict(rows[:900], "text")
    assert small.predictions == answer.predictions[:900]


def test_parts_follow_the_limits_of_the_server(kind: str, server: Server, store: Store) -> None:
    rows = np.random.default_rng(0).normal(size=(4000, 3))  # 500 rows and 200,000 bytes a request are allowed
    check(Asker(kind, server.url).predict(rows, "value"), store, "value", rows)
    texts = people(seed=6).drop(columns="buys").assign(town="ü" * 800)
    answer = Asker(kind, server.url).predict(texts, "people")  # some 400,000 bytes
    with pytest.warns(UserWarning, match="a category that training did not see"):
        check(answer, store, "people", texts)
    assert answer.unknown == {"town": ROWS}
    assert answer.unknown_cells == ROWS
    with pytest.raises(RequestRefused, match="the limit is 200,000"):
        Asker(kind, server.url).predict([{**texts.iloc[0].to_dict(), "town": "ü" * 200_000}], "people")


@pytest.mark.parametrize("wrong", [(0,), (1999,), (2500, 700), (399, 400, 2800)])
@pytest.mark.parametrize("binary", [True, False])
def test_a_wrong_row_in_a_part_has_its_number_in_the_whole(
    kind: str, binary: bool, wrong: tuple[int, ...], server: Server
) -> None:
    rows = np.random.default_rng(0).normal(size=(3003, 3))
    rows[list(wrong), 1] = np.nan
    with pytest.raises(RowsRefused) as told:
        Asker(kind, server.url, binary=binary, rows_per_request=400).predict(rows, "text")
    first = told.value.faults[0]
    assert (first.row, first.column) == (min(wrong), "b")
    assert "missing" in first.message
    assert str(told.value).startswith(f"Row {min(wrong)}, column 'b': ")
    rows[list(wrong), 1] = np.inf
    with pytest.raises(RowsRefused) as told:
        Asker(kind, server.url, binary=binary, rows_per_request=400).predict(rows, "text")
    assert told.value.faults[0].row == min(wrong)
    assert "finite" in told.value.faults[0].message


@pytest.mark.parametrize(
    ("rows", "model", "error", "said"),
    [
        ([[1, 2]], "text", RowsRefused, "Row 0: 2 values where the model takes 3: 'a', 'b', 'c'"),
        (np.ones((100, 2)), "text", RowsRefused, "Row 0: 2 values where the model takes 3: 'a', 'b', 'c'"),
        (people(), "text", DataError, "the table lacks columns 'a', 'b', 'c'"),
        ([[1, 2, "x"]], "text", RowsRefused, "Row 0, column 'c': \"x\" is not a number"),
        ([[1, 2, float("inf")]], "text", RowsRefused, "Row 0: value 3 of the row, inf is not a finite number"),
        (people().assign(height=np.inf), "people", RowsRefused, "Row 0, column 'height': inf is not a finite number"),
        ([[1, 2, 3]], "nobody", ModelUnknown, "There is no model 'nobody'"),
        (np.ones((100, 3)), "nobody", ModelUnknown, "There is no model 'nobody'"),
        (np.ones((100, 3)), "text@9", ModelUnknown, "has no version 9"),
        ([[1, 2, 3]], "a/b", ModelUnknown, "a/b"),
        ([[1, 2, 3]], None, ModelUnknown, "names no model"),
        (people().assign(town="Rom"), "strict", RowsRefused, "Row 0, column 'town': \"Rom\" is not a category"),
    ],
)
def test_what_cannot_be_answered_is_told(
    kind: str, rows: Any, model: str | None, error: type[Exception], said: str, server: Server
) -> None:
    with pytest.raises(error) as told:
        Asker(kind, server.url).predict(rows, model)
    assert said in str(told.value)
    assert type(told.value) is error


@pytest.mark.parametrize("binary", [True, False])
def test_a_deadline_of_the_server_is_one_error_in_either_form(kind: str, binary: bool, server: Server) -> None:
    headers = {"X-Request-Timeout-Seconds": "0.000001"}
    with pytest.raises(DeadlinePassed) as told:
        Asker(kind, server.url, binary=binary, headers=headers).predict(np.ones((100, 3)), "text@1")
    assert (told.value.status, told.value.code) == (504, "deadline-exceeded")
    assert told.value.request_id


def test_the_default_model_of_several_is_known_before_the_first_rows(store: Store, tmp_path: Path) -> None:
    frame = trained("prices").drop(columns="value")[:8]
    expected = pytest.approx(axon.load("prices", store).predict(frame), rel=1e-5)
    with running(store.root, tmp_path, default_model="prices@latest") as server:
        for kind in ("sync", "async"):
            for rows in (frame, frame.assign(other="x"), pa.Table.from_pandas(frame), frame.to_numpy(np.float32)):
                answer = Asker(kind, server.url).predict(rows)
                assert answer.predictions == expected
                assert answer.unknown == {}
        with Client(server.url) as client:
            assert client.models()["default"] == "prices@latest"
            assert client.predict(frame[:0]).model == "prices"
            assert client.explain(frame[:1]).model == "prices"


def test_no_rows_have_no_answers(kind: str, server: Server) -> None:
    for rows in ([], people()[:0], np.empty((0, 3))):
        answer = Asker(kind, server.url).predict(rows, "text")
        assert (answer.predictions, answer.classes, answer.version) == ([], ("grün", "rot, 1"), 1)
    with pytest.raises(DataError, match="there are no rows"):
        Asker(kind, server.url).predict([])


def test_models_and_summaries_are_those_of_the_server(server: Server, store: Store) -> None:
    with Client(server.url) as client:
        assert {model["name"] for model in client.models()["models"]} == set(store.names())
        assert [column["name"] for column in client.model("text@1")["columns"]] == ["a", "b", "c"]
        summary = client.summary("text")
        assert summary["total_params"] == sum(layer["params"] for layer in summary["layers"])
        assert client.summary_text("text").startswith("text@1\nLayer")
        assert client.health().ready
        assert client.ready()
        with pytest.raises(ModelUnknown, match="nobody"):
            client.model("nobody")
        with pytest.raises(ModelUnknown):
            client.summary("text@77")

    async def run() -> list[Any]:
        async with AsyncClient(server.url) as client:
            return [
                await client.models(),
                await client.model("text"),
                await client.summary("text"),
                await client.summary_text("text"),
                await client.health(),
                await client.ready(),
            ]

    models, model, asked, text, health, ready = asyncio.run(run())
    assert len(models["models"]) == len(store.names())
    assert model["name"] == "text"
    assert asked == summary
    assert text.startswith("text@1\nLayer")
    assert (health.ready, health.reason, ready) == (True, None, True)


def sockets() -> int:
    """Returns the number of open sockets of this process."""
    found = 0
    for place in Path("/proc/self/fd").iterdir():
        try:
            found += str(place.readlink()).startswith("socket:")
        except OSError:
            continue
    return found


def test_sixty_four_calls_at_once_have_their_own_answers_and_leave_no_connection(server: Server, store: Store) -> None:
    rows = np.random.default_rng(0).normal(size=(64, 3))
    local = axon.load("value", store).predict(rows)
    before = sockets()

    async def run() -> tuple[list[Answer], int, int]:
        inside = sockets()
        async with AsyncClient(server.url, connections=32) as client:
            for _ in range(3):
                answers = await asyncio.gather(*[client.predict([row], "value") for row in rows.tolist()])
            refused = await asyncio.gather(
                *[client.predict([["x", 1, 2]], "value") for _ in range(32)], return_exceptions=True
            )
            assert {type(error) for error in refused} == {RowsRefused}
            late = await asyncio.gather(
                *[client.predict(np.ones((20_000, 3)), "value", deadline=0.02) for _ in range(8)],
                return_exceptions=True,
            )
            assert {type(error) for error in late} == {DeadlinePassed}
            tasks = [asyncio.create_task(client.predict(np.ones((20_000, 3)), "value")) for _ in range(8)]
            await client.predict(rows[:1], "value")
            for task in tasks:
                task.cancel()
            assert all(
                isinstance(error, asyncio.CancelledError)
                for error in await asyncio.gather(*tasks, return_exceptions=True)
            )
            assert (await client.predict(rows, "value")).predictions == pytest.approx(local, rel=1e-12, abs=1e-4)
            return answers, sockets() - inside, sockets()

    answers, inside, _ = asyncio.run(run())
    assert [answer.predictions[0] for answer in answers] == pytest.approx(local, rel=1e-12, abs=1e-4)
    assert len({answer.request_id for answer in answers}) == 64
    assert inside <= 32
    assert sockets() == before


def test_threads_share_a_client_and_leave_no_connection(server: Server, store: Store) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rows = np.random.default_rng(0).normal(size=(64, 3))
    local = axon.load("value", store).predict(rows)
    before = sockets()
    with Client(server.url) as client, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda row: client.predict([row], "value").predictions[0], rows.tolist()))
        assert sockets() - before <= 16
    assert answers == pytest.approx(local, rel=1e-12, abs=1e-4)
    assert sockets() == before


def test_a_key_for_predictions_alone_is_enough(kind: str, store: Store, tmp_path: Path) -> None:
    (predict, predict_line), (both, both_line) = (
        new_key("p", "predict"),
        new_key("b", "predict,read"),
    )
    frame = numbers(seed=2)[["a", "b", "c"]]
    with running(store.root, tmp_path, api_keys=f"{predict_line} {both_line}") as server:
        check(Asker(kind, server.url, both).predict(frame, "text"), store, "text", frame)
        answer = Asker(kind, server.url, predict).predict(frame, "text")
        assert answer.predictions == axon.load("text", store).predict(frame)
        assert answer.classes == ()
        assert list(answer.columns()) == ["prediction", "probability 0", "probability 1"]
        array = Asker(kind, server.url, predict).predict(frame.to_numpy(), "text")
        assert array.predictions == answer.predictions
        with pytest.raises(Unauthenticated):
            Asker(kind, server.url).predict(frame.to_numpy(), "text")
        with pytest.raises(RowsRefused, match="not a column of this model"):
            Asker(kind, server.url, predict).predict(frame.assign(d=1), "text")
        with Client(server.url, predict) as client, pytest.raises(Forbidden):
            client.models()


def test_a_new_version_with_other_columns_answers_the_same_client(tmp_path: Path) -> None:
    frame = numbers()[["a", "b", "c", "value"]]
    frame["value"] = frame["a"] * 5
    store = Store(tmp_path / "store")
    axon.fit(frame, target="value", name="only", **QUICK).publish(store, report=False)
    with running(store.root, tmp_path) as server, Client(server.url) as client, Client(server.url) as other:
        few, many = frame[:3], pd.concat([frame] * 3, ignore_index=True)
        for rows in (few, many):
            check(client.predict(rows), store, "only@1", rows)  # the only model is the default
            check(other.predict(rows, "only"), store, "only@1", rows)
        axon.fit(frame[["c", "b", "a", "value"]], target="value", name="only", **QUICK).publish(store, report=False)
        client._http.post("models/refresh").raise_for_status()
        for rows in (few, many):
            check(client.predict(rows), store, "only@2", rows)
            check(other.predict(rows, "only"), store, "only@2", rows)
            check(other.predict(rows, "only@1"), store, "only@1", rows)
        axon.fit(frame[["b", "value"]], target="value", name="only", **QUICK).publish(store, report=False)
        client._http.post("models/refresh").raise_for_status()
        for rows in (few[["b"]], many[["b"]], few, many):
            check(client.predict(rows), store, "only@3", rows)
            check(other.predict(rows, "only"), store, "only@3", rows)
