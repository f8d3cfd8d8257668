"""Large requests parsed without a Python object per number: the careful parser's bytes, or left to that parser."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, NumericColumn, Schema
from models.errors import RowError
from service.http.wire.bulk_json import NumberReader, model_first

READER = NumberReader()
numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, -0.0, 2**53 + 1, 2**63, 2**64 - 1, 3.4e38, 3.5e38, 1e308, 5e-324]),
)
cells = st.one_of(numbers, st.booleans(), st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=2))


def schema(width: int, origin: float = 0.0) -> Schema:
    columns = tuple(
        NumericColumn(name=f"x{i}", mean=origin, std=1.0, minimum=origin - 1, maximum=origin + 1, origin=origin)
        for i in range(width)
    )
    return Schema(columns=columns, target=ClassTarget(name="y", labels=("a", "b")))


def outcome(encoder: RowEncoder, rows: list[Any]) -> bytes | None:
    try:
        return encoder.encode(rows)
    except RowError:
        return None


@given(st.integers(1, 5).flatmap(lambda width: st.lists(st.lists(numbers, min_size=width, max_size=width), min_size=1)))
@pytest.mark.parametrize("origin", [0.0, 1e6])
def test_rows_of_numbers_become_the_bytes_of_the_careful_way(origin: float, rows: list[list[float]]) -> None:
    encoder = RowEncoder(schema(len(rows[0]), origin))
    found = READER.read(json.dumps(rows).encode())
    careful = outcome(encoder, rows)
    if found is None:
        assert any(isinstance(cell, int) and not -(2**63) <= cell < 2**64 for row in rows for cell in row)
        return
    assert encoder.encode_numbers(found) == careful


@given(st.lists(st.one_of(st.lists(cells, max_size=3), cells, st.dictionaries(st.text(max_size=2), cells)), max_size=4))
def test_whatever_is_accepted_is_rows_of_numbers_of_one_width(rows: list[Any]) -> None:
    found = READER.read(json.dumps(rows).encode())
    if found is not None:
        np.testing.assert_array_equal(found, np.array(rows, dtype=np.float64))
        assert all(type(cell) in (int, float) for row in rows for cell in row)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"[1, 2]",
        b"[[]]",
        b'{"instances": [[1, 2]]}',
        b"[[1, 2], [3]]",
        b"[[1, 2], [[3], 4]]",
        b"[[1, 2], 3]",
        b"[[1, true]]",
        b"[[1, null]]",
        b"[[1, NaN]]",
        b"[[1, 1e400]]",
        b"[[1]] {}",
        b'[["\xff"]]',
        b"[" * 5000 + b"]" * 5000,
    ],
)
def test_what_is_not_plainly_rows_of_numbers_is_left_to_the_careful_reader(text: bytes) -> None:
    assert READER.read(text) is None
    assert READER.read(b"[[1, 2]]") is not None, "and the reader goes on"


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 3.5e38, -3.5e38])
def test_a_number_that_float32_does_not_hold_is_for_the_careful_way(value: float) -> None:
    assert RowEncoder(schema(2)).encode_numbers(np.array([[0.0, 1.0], [value, 2.0]])) is None


def test_another_width_is_for_the_careful_way() -> None:
    assert RowEncoder(schema(3)).encode_numbers(np.zeros((2, 2))) is None


@pytest.mark.parametrize(
    ("body", "model"),
    [
        (b'{"model":"iris","instances":', "iris"),
        (b' { "model" : "iris@prod" , ', "iris@prod"),
        (b'{"instances": [[1]], "model": "iris"}', None),
        (b'{"model": "a\\u0062", "instances"', None),
        (b'{"model": null, "instances"', None),
    ],
)
def test_the_model_is_known_early_where_it_comes_first(body: bytes, model: str | None) -> None:
    assert model_first(body) == model
