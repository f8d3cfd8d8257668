"""A model version in the log of predictions: what a reader needs to understand its rows without the checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.column import Column
from models.columns.labels import Label
from models.columns.row_names import RowNames
from models.columns.schema import (
    ClassTarget,
    NumericTarget,
    Schema,
    Target,
    ValuesTarget,
    build_column,
    build_target,
    plain_fields,
)
from models.errors import DataError

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class LoggedVersion:
    """A model version, as files of the log describe one.

    Attributes:
        name: name of the model.
        version: number of the version.
        digest: digest of the checkpoint.
        columns: columns that are logged, in the model's order.
        left_out: number of columns that are not logged.
        target: target of the model.
        has_probabilities: True if the answers are probabilities of classes.
    """

    name: str
    version: int
    digest: str
    columns: tuple[Column, ...]
    left_out: int
    target: Target
    has_probabilities: bool

    @cached_property
    def labels(self) -> tuple[Label, ...]:
        """Labels of a classifier in the order of its answers; empty for a regressor."""
        return self.target.labels if isinstance(self.target, ClassTarget) else ()

    @cached_property
    def width(self) -> int:
        """Number of features of an encoded row, of the logged columns alone."""
        return sum(column.width for column in self.columns)

    @property
    def outputs(self) -> int:
        """Number of answers of a row."""
        return len(self.labels) or len(self.targets or (None,))

    @cached_property
    def targets(self) -> tuple[str, ...] | None:
        """Names of several targets, in the order of the answers; None for one target."""
        return self.target.names if isinstance(self.target, ValuesTarget) else None

    @property
    def origin(self) -> float | NDArray[np.float64]:
        """Number to add to the answers of a regressor, of several targets `(targets,)`; 0 for a classifier."""
        if isinstance(self.target, ValuesTarget):
            return np.array([target.origin for target in self.target.targets])
        return self.target.origin if isinstance(self.target, NumericTarget) else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the version as plain JSON types, for `from_dict`."""
        return {
            "format": FORMAT,
            "model": self.name,
            "version": self.version,
            "digest": self.digest,
            "columns": [plain_fields(column) for column in self.columns],
            "left_out": self.left_out,
            "target": plain_fields(self.target),
            "has_probabilities": self.has_probabilities,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> LoggedVersion:
        """Builds a version from the result of `to_dict`.

        Raises:
            DataError: A field is missing or out of range, or a later Axon wrote the file.
        """
        try:
            if raw["format"] != FORMAT:
                raise DataError(f"was written in format {raw['format']}, and this Axon reads format {FORMAT}.")
            return cls(
                name=str(raw["model"]),
                version=int(raw["version"]),
                digest=str(raw["digest"]),
                columns=tuple(map(build_column, raw["columns"])),
                left_out=int(raw["left_out"]),
                target=build_target(raw["target"]),
                has_probabilities=bool(raw["has_probabilities"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"describes its model version wrongly: {error!r}.") from None

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


def logged_columns(
    schema: Schema, left_out: Collection[str]
) -> tuple[tuple[Column, ...], NDArray[np.intp] | None, tuple[int | None, ...]]:
    """Chooses the columns of a model that are logged.

    Args:
        schema: schema of the model.
        left_out: names of columns that are not logged, in any spelling that a request may use.

    Returns:
        Logged columns; places of their features in an encoded row, None for all; and the new position of each column
        of the schema, None for a column that is left out.
    """
    names = RowNames(schema.names)
    out = {names.find(name) for name in left_out}
    kept: list[Column] = []
    places: list[int] = []
    positions: list[int | None] = []
    at = 0
    for column in schema.columns:
        if column.name in out:
            positions.append(None)
        else:
            positions.append(len(kept))
            kept.append(column)
            places += range(at, at + column.width)
        at += column.width
    all_places = None if len(kept) == len(schema.columns) else np.array(places, dtype=np.intp)
    return tuple(kept), all_places, tuple(positions)
