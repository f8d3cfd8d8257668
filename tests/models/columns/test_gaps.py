"""A value that was declared missing means the same as null, in whatever form a row comes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.columns.column import CategoricalColumn, Column, DateColumn, NumericColumn
from models.columns.encoding import NamedColumns, RowEncoder, encode_columns
from models.columns.schema import ClassTarget, Schema, build_column, plain_fields
from models.errors import DataError, RowError

TARGET = ClassTarget(name="y", labels=("no", "yes"))
NUMBER: dict[str, Any] = {"mean": 0.5, "std": 2.0, "minimum": -9.0, "maximum": 9.0}
AGE = NumericColumn(name="age", **NUMBER, missing="indicator", gaps=(-999.0, 1e20))
FAR = NumericColumn(name="far", mean=1.7e9, std=9, minimum=0, maximum=2e9, origin=1.7e9, missing="mean", gaps=(0.0,))
CITY = CategoricalColumn(name="city", categories=("Bonn", "7"), missing="ignore", gaps=("?", "-9999"))
DAY = DateColumn(
    name="day", mean=19e3, std=3e2, minimum=18e3, maximum=2e4, parts=("month",), missing="indicator", gaps=(-25_567.0,)
)
COLUMNS: tuple[Column, ...] = (AGE, FAR, CITY, DAY)
FIRST = -25_567  # 1900-01-01, in days since 1970


def encoder_of(*columns: Column) -> RowEncoder:
    return RowEncoder(Schema(columns=columns, target=TARGET))


@pytest.mark.parametrize("repeats", [1, 40])
@pytest.mark.parametrize(
    ("row", "same"),
    [
        ([-999, 0, "?", "1900-01-01"], [None, None, None, None]),
        ([-999.0, 0.0, " ? ", "1900-01-01T00:00:00Z"], [None, None, None, None]),
        ([1e20, 1.7e9, -9999, "1900-01-01"], [None, 1.7e9, None, None]),
        ([float(np.float32(1e20)), 5, -9999.0, "2020-03-01"], [None, 5, None, "2020-03-01"]),
        ([-998, 1, "-9999", "1900-01-02"], [-998, 1, None, "1900-01-02"]),
    ],
)
def test_a_gap_in_a_row_is_null(row: list[Any], same: list[Any], repeats: int) -> None:
    encoder = encoder_of(*COLUMNS)
    assert encoder.encode([row] * repeats) == encoder.encode([same] * repeats)
    named = {column.name: [cell] * repeats for column, cell in zip(COLUMNS, row, strict=True)}
    assert bytes(encoder.encode_any(NamedColumns(named, repeats))) == encoder.encode([same] * repeats)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("rows", [1, 50])
def test_a_gap_in_an_array_of_numbers_is_null(dtype: type[Any], rows: int) -> None:
    plain = NumericColumn(name="plain", **NUMBER, missing="mean", gaps=(-999.0,))
    for columns in ((plain,), (AGE, plain), (FAR, plain)):
        encoder = encoder_of(*columns)
        for gap in (-999, 0, 1):
            matrix = np.full((rows, len(columns)), gap, dtype=dtype)
            cells = [None if gap in column.gaps else gap for column in columns]
            assert bytes(encoder.encode_any(matrix)) == encoder.encode([cells] * rows)
            raw = np.ascontiguousarray(matrix, "<f8" if encoder.takes_doubles else "<f4")
            assert bytes(encoder.encode_any(raw.data.cast("B"))) == encoder.encode([cells] * rows)


def test_a_gap_of_a_column_of_float32_is_found() -> None:
    encoder = encoder_of(AGE)
    assert bytes(encoder.encode_any(np.array([[1e20]], np.float32))) == encoder.encode([[None]])


def test_training_encodes_gaps_as_the_server_does() -> None:
    schema = Schema(columns=(AGE, DAY), target=TARGET)
    days = np.array([FIRST, 18_500], "datetime64[D]")
    encoded = encode_columns(schema, {"age": np.array([-999, 3]), "day": days})
    assert encoded.tobytes() == RowEncoder(schema).encode([[None, None], [3, "2020-08-26"]])


@pytest.mark.parametrize(
    ("column", "cell", "shown"),
    [(AGE, -999, "-999"), (CITY, "?", '"?"'), (CITY, -9999, "-9999"), (DAY, "1900-01-01", '"1900-01-01"')],
)
def test_a_gap_that_training_did_not_see_is_refused_by_name(column: Column, cell: Any, shown: str) -> None:
    encoder = encoder_of(replace(column, missing="refuse"))
    for rows in ([[cell]], [[cell]] * 40):
        with pytest.raises(RowError) as refused:
            encoder.encode(rows)
        fault = refused.value.faults[0]
        said = f"{shown} stands for a missing value, and training saw no missing value in this column"
        assert (fault.row, fault.column, fault.message) == (0, column.name, said)
    if isinstance(column, NumericColumn):
        cells = [np.array([1.0, cell, 2.0])]
        assert [fault.row for fault in encoder.column_faults(cells)] == [1]


def test_a_gap_can_stand_for_a_category() -> None:
    encoder = encoder_of(replace(CITY, missing="refuse", fill="Bonn"))
    assert encoder.encode([["?"]]) == encoder.encode([["Bonn"]])


def test_a_whole_number_is_not_confused_with_its_neighbours() -> None:
    column = replace(AGE, gaps=(99_999_999.0, 9_999_999_999_999_999.0))
    encoder = encoder_of(column)
    for repeats in (1, 40):
        assert encoder.encode([[1e8]] * repeats) == encoder_of(replace(AGE, gaps=())).encode([[1e8]] * repeats)
        for gap in (99_999_999, 9_999_999_999_999_999, 10_000_000_000_000_000, 1e16):
            assert encoder.encode([[gap]] * repeats) == encoder.encode([[None]] * repeats), gap
    assert bytes(encoder.encode_any(np.array([[1e8]], np.float32))) == encoder.encode([[1e8]])
    assert encoder.encode_any(np.array([[9_999_999_999_999_999]])) == encoder.encode([[None]])


@pytest.mark.parametrize("cell", [9.969209968386869e36, 9.96921e36, float(np.float32(9.96921e36))])
def test_other_numbers_are_compared_as_float32_holds_them(cell: float) -> None:
    encoder = encoder_of(replace(AGE, gaps=(9.969209968386869e36,)))
    for repeats in (1, 40):
        assert encoder.encode([[cell]] * repeats) == encoder.encode([[None]] * repeats)
    assert bytes(encoder.encode_any(np.array([[cell]]))) == encoder.encode([[None]])
    assert encoder.encode([[9.9693e36]]) != encoder.encode([[None]])


def test_a_number_among_categories_is_a_gap_in_any_spelling() -> None:
    encoder = encoder_of(replace(CITY, gaps=("-9999.5",)))
    for cell in (-9999.5, "-9999.50", "-9.9995e3", " -9999.5"):
        assert encoder.encode([[cell]]) == encoder.encode([[None]])
    for cell in ("-9_999.5", "-9999.5 m"):
        with pytest.raises(RowError):
            encoder.encode([[cell]])


def test_an_unknown_category_is_no_gap() -> None:
    encoder = encoder_of(replace(CITY, unknown="ignore"))
    encoder.encode([["?"], ["Köln"]])
    assert encoder.unknown.take() == {"city": 1}


def test_gaps_are_written_where_there_are_any() -> None:
    for column in COLUMNS:
        assert plain_fields(column)["gaps"] == list(column.gaps)
        assert build_column(plain_fields(column)) == column
        assert "gaps" not in plain_fields(replace(column, gaps=()))


@pytest.mark.parametrize(
    ("column", "gaps", "message"),
    [
        (AGE, ("?",), "gaps"),
        (AGE, (float("nan"),), "gaps"),
        (AGE, 5, "gaps must be numbers"),
        (DAY, ("1900-01-01",), "gaps"),
        (CITY, ("Bonn",), "gaps must not be categories"),
        (CITY, ("7.0",), "gaps must not be categories"),
        (CITY, (5,), "gaps"),
    ],
)
def test_what_is_no_gap_is_refused(column: Column, gaps: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(column, gaps=gaps)
