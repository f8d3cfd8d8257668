"""Rows that come as columns mean what the same rows mean cell by cell, with the same bits and the same refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError

NUMBER: dict[str, Any] = {"mean": 0.5, "std": 2.0, "minimum": -9.0, "maximum": 9.0}
COLUMNS = {
    "plain": NumericColumn(name="plain", **NUMBER),
    "gappy": NumericColumn(name="gappy", **NUMBER, missing="indicator"),
    "filled": NumericColumn(name="filled", **NUMBER, missing="mean"),
    "far": NumericColumn(name="far", mean=1.7e9, std=9.0, minimum=1.6e9, maximum=1.8e9, origin=1.7e9),
    "city": CategoricalColumn(name="city", categories=("Bonn", "7", "true"), unknown="ignore", missing="ignore"),
    "strict": CategoricalColumn(name="strict", categories=("a", "b"), encoding="sign"),
    "day": DateColumn(
        name="day", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, parts=("month",), missing="mean"
    ),
}
NUMBERS = st.one_of(st.integers(-(2**60), 2**60), st.floats(width=64), st.floats(width=32))
CELLS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("plain", "gappy", "filled", "far"), st.one_of(NUMBERS, st.none(), st.booleans(), st.just("x"))),
    "city": st.one_of(st.sampled_from(["Bonn", " bonn ", "Köln", 7, 7.0, True, None, ""]), st.text(max_size=3)),
    "strict": st.sampled_from(["a", "b", "c", None]),
    "day": st.sampled_from(["2024-05-31", "2024-05-31T13:45:00Z", None, "", "no date"]),
}


def encoder_of(*names: str) -> RowEncoder:
    columns = tuple(COLUMNS[name] for name in names)
    return RowEncoder(Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes"))))


def outcome(encoder: RowEncoder, rows: Any) -> tuple[bytes | None, set[tuple[int, str | None, str]], dict[str, int]]:
    """Returns the encoded rows, the faults, and the unknown cells."""
    try:
        encoded = bytes(encoder.encode_any(rows))
    except RowError as error:
        return None, {(fault.row, fault.column, fault.message) for fault in error.faults}, encoder.unknown.take()
    return encoded, set(), encoder.unknown.take()


@given(st.data())
def test_columns_of_any_cells_are_encoded_as_their_rows(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4, unique=True))
    count = data.draw(st.integers(1, 3))
    cells = {name: data.draw(st.lists(CELLS[name], min_size=count, max_size=count)) for name in names}
    encoder = encoder_of(*names)
    rows = [list(row) for row in zip(*cells.values(), strict=True)]
    shuffled = {name: cells[name] for name in data.draw(st.permutations(names))}
    assert outcome(encoder, NamedColumns(shuffled, count)) == outcome(encoder, rows)


@given(
    st.lists(st.one_of(st.floats(width=32), st.just(math.nan)), min_size=1, max_size=70),
    st.sampled_from(["<f2", "<f4", "<f8", ">f4"]),
    st.sampled_from(["plain", "gappy", "filled", "far"]),
)
def test_an_array_of_numbers_is_encoded_as_its_elements(numbers: list[float], dtype: str, name: str) -> None:
    with np.errstate(over="ignore"):
        array = np.array(numbers, dtype=dtype)
    encoder = encoder_of(name)
    cells = [None if math.isnan(cell) else cell for cell in array.astype(np.float64).tolist()]
    expected = outcome(encoder, [[cell] for cell in cells])
    for rows in (NamedColumns({name: array}, len(array)), NamedColumns({"other": array}, len(array)), array[:, None]):
        assert outcome(encoder, rows) == expected


@given(st.integers(1, 40), st.integers(2, 4), st.sampled_from(["<i1", "<u1", "<i8", "<u8", "<f4", "<f8"]), st.data())
@pytest.mark.slow
def test_a_matrix_is_encoded_as_its_rows(rows: int, columns: int, dtype: str, data: st.DataObject) -> None:
    names = data.draw(st.permutations(["plain", "gappy", "filled", "far"]))[:columns]
    kind = np.dtype(dtype)
    if kind.kind == "f":
        elements = st.floats(width=32 if kind.itemsize == 4 else 64, allow_nan=False)
    else:
        elements = st.integers(np.iinfo(kind).min, np.iinfo(kind).max)
    given_rows = data.draw(
        st.lists(st.lists(elements, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
    )
    matrix = np.array(given_rows, dtype=kind)
    encoder = encoder_of(*names)
    assert outcome(encoder, matrix)[0] == outcome(encoder, matrix.tolist())[0]


def test_a_large_float32_matrix_is_not_copied() -> None:
    matrix = np.arange(1 << 15, dtype="<f4").reshape(-1, 2)
    encoder = RowEncoder(
        Schema(
            columns=tuple(NumericColumn(name=name, **NUMBER) for name in ("a", "b")),
            target=ClassTarget(name="y", labels=("no", "yes")),
        )
    )
    encoded = encoder.encode_numbers(matrix)
    assert isinstance(encoded, memoryview)
    assert np.shares_memory(np.frombuffer(encoded, dtype="<f4"), matrix)
    assert bytes(encoded) == encoder.encode(matrix.tolist())


def test_moments_are_encoded_as_their_texts() -> None:
    encoder = encoder_of("day", "city")
    moments = np.array(["2024-05-31T13:45:00.25", "NaT", "1969-12-31"], dtype="datetime64[ms]")
    cities = ["Bonn", None, "Köln"]
    texts = ["2024-05-31T13:45:00.250000", None, "1969-12-31"]
    encoded = outcome(encoder, NamedColumns({"day": moments, "city": cities}, 3))
    assert encoded == outcome(encoder, [list(row) for row in zip(texts, cities, strict=True)])
    assert encoded[2] == {"city": 1}


@pytest.mark.parametrize(
    ("by_name", "faults"),
    [
        ({"plain": [1]}, [(0, "city", "this column is missing")]),
        ({"plain": [1], " plain ": [2], "city": ["Bonn"]}, [(0, "plain", "another column of this request names it")]),
        ({"plain": [1], "city": ["Bonn"], "more": [1]}, [(0, "more", "not a column of this model")]),
        (
            {"plain": ["x"], "city": [[]]},
            [(0, "plain", '"x" is not a number'), (0, "city", "a list is not a category")],
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name(by_name: dict[str, Any], faults: list[tuple[int, str, str]]) -> None:
    with pytest.raises(RowError) as caught:
        encoder_of("plain", "city").encode_any(NamedColumns(by_name, 1))
    found = caught.value.faults
    assert [(fault.row, fault.column) for fault in found] == [(row, column) for row, column, _ in faults]
    assert all(fault.message.startswith(message) for fault, (_, _, message) in zip(found, faults, strict=True))


def test_columns_that_a_model_lacks_are_ignored_for_a_table() -> None:
    encoder = encoder_of("plain")
    table = NamedColumns({"id": [7], "plain": [1.5]}, 1, ignores_others=True)
    assert encoder.encode_any(table) == encoder.encode([[1.5]])


@pytest.mark.parametrize(("names", "dtype"), [(("plain", "filled"), "<f4"), (("plain", "far"), "<f8")])
def test_raw_bytes_are_a_matrix_of_the_models_own_type(names: tuple[str, ...], dtype: str) -> None:
    encoder = encoder_of(*names)
    matrix = np.array([[1.5, 1.7e9], [2.5, 1.6e9]], dtype=dtype)
    assert encoder.encode_any(memoryview(matrix.tobytes())) == encoder.encode(matrix.tolist())
    for wrong in (b"", matrix.tobytes()[:-1], matrix.tobytes()[: (dtype == "<f8" and 12) or 4]):
        with pytest.raises(RowError, match="bytes, where each row has"):
            encoder.encode_any(memoryview(wrong))
    with pytest.raises(RowError, match="not numeric"):
        encoder_of("city", "plain").encode_any(memoryview(bytes(8)))
