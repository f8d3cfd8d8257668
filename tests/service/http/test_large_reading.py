"""Large requests read slice by slice: the same bytes as the careful parser, and the same faulty row, at any cut."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_format import JsonReader
from service.http.wire.json_slices import names_no_model
from service.large_reading import LargeReading

ROWS = 6000
COLOURS = ("red", "green", "blue")


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0} | changes))


MIXED = RowEncoder(
    Schema(
        columns=(
            number("a"),
            number("b", missing="indicator"),
            CategoricalColumn(name="c", categories=COLOURS),
            DateColumn(name="d", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, parts=("weekday",)),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    )
)
PLAIN = RowEncoder(
    Schema(columns=(number("a"), number("b", mean=5.0, origin=5.0)), target=ClassTarget(name="y", labels=("no", "yes")))
)


def rows_of(encoder: RowEncoder) -> list[Any]:
    dice = random.Random(0)
    rows: list[Any] = []
    for i in range(ROWS):
        cells: list[Any] = [dice.gauss(0, 1), None if encoder is MIXED and dice.random() < 0.2 else dice.randint(-9, 9)]
        if encoder is MIXED:
            cells += [dice.choice(COLOURS), f"20{dice.randint(10, 29)}-0{dice.randint(1, 9)}-{dice.randint(10, 28)}"]
        rows.append(cells if i % 3 else dict(zip(encoder.schema.names, cells, strict=True)))
    return rows


def read(encoder: RowEncoder, document: dict[str, Any]) -> LargeReading:
    request = JsonReader(orjson.dumps(document), encoder, NumberReader())
    reading = LargeReading(request, encoder, most_rows=10**6)
    for done in reading.steps():
        assert (done or 0) < 150_000, "a step is a slice"
    return reading


@pytest.mark.parametrize("encoder", [MIXED, PLAIN])
@pytest.mark.parametrize("as_lists", [False, True])
def test_rows_are_those_of_the_careful_way_from_any_to_any(encoder: RowEncoder, as_lists: bool) -> None:
    rows = rows_of(encoder)
    if as_lists:
        rows = [list(row.values()) if isinstance(row, dict) else row for row in rows]
    reading = read(encoder, {"instances": rows, "model": "m@1"})
    assert (reading.model, reading.rows and reading.rows.rows) == ("m@1", ROWS)
    assert reading.rows is not None
    expected = b"".join(encoder.encode([row]) for row in rows)
    width = 4 * encoder.width
    dice = random.Random(1)
    for start, stop in [(0, ROWS), *(sorted(dice.sample(range(ROWS + 1), 2)) for _ in range(50))]:
        assert b"".join(reading.rows.cut(start, stop)) == expected[start * width : stop * width]


def test_the_row_at_fault_is_told_by_its_place_in_the_request() -> None:
    rows = rows_of(MIXED)
    for at in (0, 777, ROWS - 1):
        wrong = [*rows[:at], [1.0, 2, "red", "no date"], *rows[at + 1 :]]
        with pytest.raises(RowError) as caught:
            read(MIXED, {"instances": wrong})
        assert [(fault.row, fault.column) for fault in caught.value.faults] == [(at, "d")]


def test_rows_with_many_wide_columns_are_held_small_too() -> None:
    categories = tuple(f"c{i}" for i in range(100))
    columns = tuple(CategoricalColumn(name=f"column {i}", categories=categories) for i in range(300))
    encoder = RowEncoder(Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes"))))
    dice = random.Random(2)
    rows = [[dice.choice(categories) for _ in columns] for _ in range(40)]
    body = orjson.dumps({"instances": rows})
    reading = LargeReading(JsonReader(body, encoder, NumberReader()), encoder, most_rows=10**6)
    for _ in reading.steps():
        pass
    assert reading.rows is not None
    held = sum(memoryview(block).nbytes for block in reading.rows._blocks)
    assert held < len(body)
    assert b"".join(reading.rows.cut(0, 40)) == encoder.encode(rows)


@pytest.mark.parametrize(
    ("body", "none"),
    [
        (b'{"instances": [[1]]}', True),
        (b' { "instances" : [["]"]] } \n', True),
        (b'{"instances": [[1]], "model": "a"}', False),
        (rb'{"instances": [[1]], "mo\u0064el": "a"}', False),
        (b'{"model": "a", "instances": [[1]]}', False),
    ],
)
def test_a_request_names_no_model_for_certain_or_is_read_first(body: bytes, none: bool) -> None:
    assert names_no_model(body) is none
