"""The models that the clients ask, their rows, and the answers by torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from serving import CHECKPOINTS, Oracle, make_checkpoint, numeric

from models.checkpoint import Checkpoint
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, NumericTarget, Schema

ROWS = 6


def _date(name: str, **changes: Any) -> DateColumn:
    return DateColumn(name=name, mean=19_000.0, std=600.0, minimum=18_000.0, maximum=21_000.0, **changes)


# `visits` has categories, dates and gaps, and whole numbers as labels; `late` has truth values as labels.
MODELS: dict[str, Checkpoint] = {
    "colours": CHECKPOINTS["colours"],
    "price": CHECKPOINTS["price"],
    "visits": make_checkpoint(
        Schema(
            columns=(
                NumericColumn(name="age", mean=40.0, std=12.0, minimum=0.0, maximum=99.0, missing="indicator"),
                NumericColumn(name="income", mean=0.0, std=1.0, minimum=-5.0, maximum=5.0, missing="mean"),
                CategoricalColumn(name="city", categories=("Rome", "Oslo", "São Paulo")),
                _date("since", parts=("month", "weekday"), missing="indicator"),
            ),
            target=ClassTarget(name="visits", labels=(1, 2, 5)),
        ),
        16,
        activation="tanh",
        seed=1,
    ),
    "late": make_checkpoint(
        Schema(
            columns=tuple(numeric(f"x{i}") for i in range(3)), target=ClassTarget(name="late", labels=(False, True))
        ),
        8,
        seed=2,
    ),
}
_DATATYPES = {str: "BYTES", int: "INT64", bool: "BOOL"}


def _visits(rows: int) -> list[list[Any]]:
    """Makes rows of `visits`, some of which lack a number."""
    chance = np.random.default_rng(3)
    cities = ("Rome", "Oslo", "São Paulo")
    return [
        [
            None if row == 1 else float(chance.integers(18, 90)),
            None if row in (2, 4) else round(float(chance.normal()), 4),
            cities[row % 3],
            f"20{chance.integers(18, 26)}-{chance.integers(1, 13):02}-{chance.integers(1, 29):02}",
        ]
        for row in range(rows)
    ]


def _numbers(name: str, seed: int) -> list[list[float]]:
    width = len(MODELS[name].schema.columns)
    # Each number is the same as float32 and as float64, so that a client may send either.
    return np.random.default_rng(seed).normal(0.3, 1.7, (ROWS, width)).astype(np.float16).astype(float).tolist()  # type: ignore[no-any-return]


# Rows in column order; None is a gap.
REQUEST_ROWS: dict[str, list[list[Any]]] = {
    "colours": _numbers("colours", 0),
    "price": [[80 + 10 * row, 2 + row / 2] for row in range(ROWS)],
    "visits": _visits(ROWS),
    "late": _numbers("late", 2),
}


def request_document() -> dict[str, Any]:
    """Returns what a client script is told: by model, the names of its columns and the rows to send."""
    return {
        name: {"columns": list(checkpoint.schema.names), "rows": REQUEST_ROWS[name]}
        for name, checkpoint in MODELS.items()
    }


def expected(name: str, rows: list[list[Any]] | None = None) -> list[list[float]]:
    """Returns torch's answers: probabilities or a value for each row, by default for the model's request rows."""
    oracle = Oracle(MODELS[name])
    return [oracle(row) for row in (REQUEST_ROWS[name] if rows is None else rows)]


def labels(name: str) -> tuple[Any, ...]:
    """Returns the labels of a classifier."""
    target = MODELS[name].schema.target
    assert isinstance(target, ClassTarget)
    return target.labels


def expected_labels(name: str) -> list[Any]:
    """Returns the label of the largest of torch's probabilities for each of the model's request rows."""
    return [labels(name)[int(np.argmax(row))] for row in expected(name)]


def check_values(name: str, found: list[float]) -> None:
    """Checks the values of a regressor against torch's."""
    target = MODELS[name].schema.target
    assert isinstance(target, NumericTarget)
    np.testing.assert_allclose(np.ravel(found), np.ravel(expected(name)), atol=1e-5 * target.std, rtol=0)


def check_probabilities(name: str, found: Any) -> None:
    """Checks the probabilities of a classifier, `(rows, classes)`, against torch's."""
    np.testing.assert_allclose(found, expected(name), atol=1e-6, rtol=0)


def check_outputs(name: str, outputs: dict[str, Any]) -> None:
    """Checks all outputs of the Open Inference Protocol for a model's request rows, against torch.

    Args:
        name: name of the model.
        outputs: `datatype`, `shape` and nested `data` of each output, by name.
    """
    predictions = outputs["predictions"]
    assert predictions["shape"] == [ROWS]
    if isinstance(MODELS[name].schema.target, NumericTarget):
        assert set(outputs) == {"predictions"}
        assert predictions["datatype"] == "FP32"
        check_values(name, predictions["data"])
        return
    assert set(outputs) == {"predictions", "probabilities"}
    assert predictions["datatype"] == _DATATYPES[type(labels(name)[0])]
    assert predictions["data"] == expected_labels(name)
    assert outputs["probabilities"]["datatype"] == "FP32"
    assert outputs["probabilities"]["shape"] == [ROWS, len(labels(name))]
    check_probabilities(name, outputs["probabilities"]["data"])


def check_classes(name: str, data: list[list[str]], count: int) -> None:
    """Checks the most probable classes of each row, each `score:index:label`, in their order."""
    for found, row in zip(data, expected(name), strict=True):
        best = sorted(range(len(row)), key=lambda class_: -row[class_])[:count]
        assert len(found) == count
        for text, class_ in zip(found, best, strict=True):
            score, index, label = text.split(":", 2)
            assert math.isclose(float(score), row[class_], abs_tol=1e-6)
            assert (int(index), label) == (class_, str(labels(name)[class_]))
