"""A non-finite answer is the row's fault if the row is far from the training data, else the model's."""

from __future__ import annotations

import numpy as np
import pytest

from models.columns.encoding import MAX_FAULTS, RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.batching.extreme_rows import error_of, not_finite_rows
from service.errors import ModelFault

SCHEMA = Schema(
    columns=(
        CategoricalColumn(name="city", categories=("Rome", "Oslo")),
        NumericColumn(name="plain", mean=0.1, std=1, minimum=-0.7, maximum=0.3),
        NumericColumn(name="gaps", mean=5, std=1, minimum=3, maximum=9, missing="indicator"),
        DateColumn(name="day", mean=19_000, std=100, minimum=18_900, maximum=19_100, parts=("month",)),
        NumericColumn(name="moment", mean=1.7e9, std=30, minimum=1.7e9 - 90, maximum=1.7e9 + 90, origin=1.7e9),
    ),
    target=ClassTarget(name="y", labels=("a", "b")),
)
SANE = ["Rome", 0.3, None, "1066-10-14", 1.7e9 + 90]


def error(*rows: list[object], bad: list[int] | None = None) -> Exception:
    features = RowEncoder(SCHEMA).encode_matrix(rows)
    chosen = list(range(len(rows))) if bad is None else bad
    return error_of(SCHEMA, features[chosen], chosen)


def test_the_ends_of_the_range_a_gap_and_a_far_date_are_not_the_rows_fault() -> None:
    for row in (SANE, ["Oslo", -0.7, 3, "9999-12-31", 1.7e9 - 90]):
        found = error(SANE, row, bad=[1])
        assert isinstance(found, ModelFault)
        assert "row 1" in str(found)


@pytest.mark.parametrize("value", [3.4e38, -3.4e38, 1e20, 0.31])
def test_a_number_outside_the_range_is_told_with_row_and_column(value: float) -> None:
    found = error(SANE, ["Rome", value, value, "2024-01-01", value], SANE, bad=[1, 2])
    assert isinstance(found, RowError)
    assert [(fault.row, fault.column) for fault in found.faults] == [(1, "plain"), (1, "gaps"), (1, "moment")]
    assert "from -0.7 to 0.3" in found.faults[0].message


def test_not_more_than_a_few_are_told() -> None:
    found = error(*[["Rome", 1e38, 1e38, "2024-01-01", 1e38]] * 100)
    assert isinstance(found, RowError)
    assert len(found.faults) == MAX_FAULTS


def test_the_rows_at_fault_are_found_and_not_more_than_a_few() -> None:
    answers = np.zeros((200, 2), dtype=np.float32)
    answers[[3, 7], [0, 1]] = np.inf, np.nan
    assert not_finite_rows(answers, start=1000) == [1003, 1007]
    assert not_finite_rows(answers[:3], start=0) == []
    answers[:] = np.nan
    assert not_finite_rows(answers, start=0) == list(range(MAX_FAULTS))
