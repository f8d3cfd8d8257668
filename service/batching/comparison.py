"""The comparison of two versions' answers to the same rows."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from models.columns.column import Column, NumericColumn
from models.columns.labels import Label
from models.columns.schema import Schema
from service.batching.served_version import ServedVersion
from service.batching.ticket import target_values

_CLOSE = 0.01  # difference of two values that agree, in standard deviations of the target in training


class Comparison:
    """A comparison of the answers of a main version and its shadow.

    Classes agree if the most probable label is the same, of the same type. Values agree if they differ by at most 0.01
    standard deviations of the main version's target in training; of several targets, each of them.

    Args:
        main: version whose answers were returned.
        shadow: version whose answers are compared.

    Raises:
        ValueError: one version is a classifier, and the other a regressor, or the targets are others.
    """

    def __init__(self, main: ServedVersion, shadow: ServedVersion) -> None:
        if (main.labels is None) != (shadow.labels is None):
            raise ValueError(f"{main} and {shadow} do not have the same task")
        if main.targets != shadow.targets:
            raise ValueError(f"{main} and {shadow} do not have the same targets")
        self._origins = main.origin, shadow.origin
        stds = [target.std for target in main.schema.values]
        self._unit = np.array(stds) if len(stds) > 1 else stds[0] if stds else None
        self._places: tuple[NDArray[np.intp], NDArray[np.intp], int] | None = None
        if main.labels is not None and shadow.labels is not None and _typed(main.labels) != _typed(shadow.labels):
            both = {label: at for at, label in enumerate(dict.fromkeys((*_typed(main.labels), *_typed(shadow.labels))))}
            places = (np.array([both[label] for label in _typed(labels)]) for labels in (main.labels, shadow.labels))
            self._places = (*places, len(both))  # type: ignore[assignment]

    def compare(
        self, main: NDArray[np.float32], shadow: NDArray[np.float32]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Compares answers.

        Args:
            main: `(rows, width)` answers of the main version.
            shadow: `(rows, width)` answers of the shadow.

        Returns:
            `(rows,)` True where the answers agree, and `(rows,)` differences: the largest absolute difference of a
            class's probabilities, or the absolute difference of the values in standard deviations of the target; of
            several targets, the largest.
        """
        if self._unit is not None:
            values = [
                target_values(matrix, origin).astype(np.float64)
                for matrix, origin in zip((main, shadow), self._origins, strict=True)
            ]
            differences = np.abs(values[0] - values[1]) / self._unit
            if differences.ndim > 1:
                differences = differences.max(axis=1)
            return differences <= _CLOSE, differences
        if self._places is not None:
            of_main, of_shadow, width = self._places
            main, shadow = _spread(main, of_main, width), _spread(shadow, of_shadow, width)
        return main.argmax(axis=1) == shadow.argmax(axis=1), np.abs(main.astype(np.float64) - shadow).max(axis=1)


def encode_alike(one: Schema, other: Schema) -> bool:
    """Returns True if two schemas encode all rows to the same bytes."""
    return list(map(_encoding, one.columns)) == list(map(_encoding, other.columns))


def _encoding(column: Column) -> object:
    """Returns what decides about the encoding of a column's cells."""
    if isinstance(column, NumericColumn):
        fill = None if column.missing == "refuse" else column.fill
        return column.name, column.missing, column.origin, fill, column.gaps
    return type(column), dataclasses.astuple(column)


def _typed(labels: tuple[Label, ...]) -> list[tuple[type, Label]]:
    """Returns labels with their types, because `1`, `1.0` and `True` are equal."""
    return [(type(label), label) for label in labels]


def _spread(matrix: NDArray[np.float32], places: NDArray[np.intp], width: int) -> NDArray[np.float32]:
    """Returns `(rows, width)` answers with the classes at other places, and 0 for classes that a version lacks."""
    spread = np.zeros((len(matrix), width), dtype=np.float32)
    spread[:, places] = matrix
    return spread
