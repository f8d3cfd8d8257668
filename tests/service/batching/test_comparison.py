"""The comparison of a shadow's answers, against sums by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from models.columns.column import CategoricalColumn, NumericColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, NumericTarget, Schema, ValuesTarget
from service.batching.comparison import Comparison, encode_alike

NUMBER = NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
TOWN = CategoricalColumn(name="town", categories=("Rome", "Oslo"))
VALUE = NumericTarget(name="y", mean=10.0, std=4.0, minimum=0.0, maximum=20.0)


def version(target: Any, **more: Any) -> Any:
    labels = target.labels if isinstance(target, ClassTarget) else None
    schema = Schema(columns=(NUMBER,), target=target)
    targets = getattr(target, "names", None)
    return SimpleNamespace(labels=labels, targets=targets, schema=schema, origin=schema.origin, **more)


def compare(main: Any, shadow: Any, one: Any, other: Any) -> tuple[list[bool], list[float]]:
    agree, differences = Comparison(main, shadow).compare(np.float32(one), np.float32(other))
    return agree.tolist(), differences.round(6).tolist()


def test_classes_agree_by_label_and_differ_by_the_largest_probability() -> None:
    main = version(ClassTarget(name="y", labels=("a", "b", "c")))
    answers = [[0.5, 0.25, 0.25], [0.0, 0.5, 0.5]], [[0.75, 0.125, 0.125], [0.0, 0.25, 0.75]]
    assert compare(main, main, *answers) == ([True, False], [0.25, 0.25])
    other = version(ClassTarget(name="y", labels=("c", "a", "d")))
    # c, a, d of the shadow are a=.75, c=.25 and a=0, c=.25, d=.75
    shadow = [[0.25, 0.75, 0.0], [0.25, 0.0, 0.75]]
    assert compare(main, other, answers[0], shadow) == ([True, False], [0.25, 0.75])


def test_labels_of_other_types_are_other_labels() -> None:
    one, other = (version(ClassTarget(name="y", labels=labels)) for labels in ((0, 1), (False, True)))
    assert compare(one, other, [[0.25, 0.75]], [[0.25, 0.75]]) == ([False], [0.75])


def test_values_agree_within_a_hundredth_of_a_deviation() -> None:
    main, shadow = version(VALUE), version(replace(VALUE, origin=8.0))
    answers = [[10.0], [10.0], [10.0]], [[2.0], [2.03], [2.0625]]  # plus the origin of 8
    agree, differences = compare(main, shadow, *answers)
    assert agree == [True, True, False]
    assert differences == pytest.approx([0, 0.0075, 0.015625], abs=1e-6)
    with pytest.raises(ValueError, match="same task"):
        Comparison(main, version(ClassTarget(name="y", labels=("a", "b"))))


def test_values_of_several_targets_differ_by_the_largest_in_its_own_deviations() -> None:
    several = ValuesTarget(targets=(VALUE, replace(VALUE, name="z", std=1000.0, origin=8.0)))
    main, shadow = version(several), version(replace(several, targets=(VALUE, replace(several.targets[1], origin=0.0))))
    answers = [[10.0, 2.0], [10.0, 2.0], [10.0, 2.0]], [[10.02, 10.0], [10.0, 15.0], [10.2, 60.0]]
    assert compare(main, shadow, *answers) == ([True, True, False], [0.005, 0.005, 0.05])
    for other in (VALUE, ValuesTarget(targets=several.targets[::-1])):
        with pytest.raises(ValueError, match="same targets"):
            Comparison(main, version(other))


@pytest.mark.parametrize(
    ("columns", "is_alike"),
    [
        ((replace(NUMBER, mean=0.5, std=2.0), TOWN), True),
        ((replace(NUMBER, origin=1.0), TOWN), False),
        ((replace(NUMBER, missing="mean"), TOWN), False),
        ((replace(NUMBER, gaps=(-9999.0,)), TOWN), False),
        ((NUMBER, replace(TOWN, categories=("Oslo", "Rome"))), False),
        ((NUMBER, replace(TOWN, encoding="sign")), False),
        ((TOWN, NUMBER), False),
        ((NUMBER,), False),
        ((replace(NUMBER, name="z"), TOWN), False),
    ],
)
def test_schemas_encode_alike_only_if_rows_become_the_same_bytes(columns: tuple[Any, ...], is_alike: bool) -> None:
    target = ClassTarget(name="y", labels=("a", "b"))
    one, other = Schema(columns=(NUMBER, TOWN), target=target), Schema(columns=columns, target=target)
    assert encode_alike(one, other) is is_alike
    if is_alike:
        rows = [[0.25, "Rome"], [3.0, "Oslo"]]
        assert RowEncoder(one).encode(rows) == RowEncoder(other).encode(rows)


def test_the_fill_of_a_gap_decides_too() -> None:
    target = ClassTarget(name="y", labels=("a", "b"))
    gaps = replace(NUMBER, missing="mean")
    one, other = (Schema(columns=(column,), target=target) for column in (gaps, replace(gaps, mean=0.5)))
    assert not encode_alike(one, other)
    assert RowEncoder(one).encode([[None]]) != RowEncoder(other).encode([[None]])
