"""An imported model: columns, network and float64 tensors of a foreign model, and the foreign model's own answers.

Each importer makes one. `conversion.importing.agreement` compares both ways of answering before anything is published.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.columns.column import CategoricalColumn, DateColumn, NumericColumn
from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.errors import AxonError, ConfigError
from models.network.sequence import SequenceConfig

Float64Array = NDArray[np.float64]
# Cells of a row as from a JSON parser, in the order of the schema's columns: numbers, texts, booleans, None for a gap.
Row = list[Any]


class ImportRefused(ConfigError):
    """A foreign model that Axon cannot take; the message names the layer, node or step, and the remedy."""


class Disagreement(AxonError):
    """A foreign model whose answers differ from those of the network made from the model."""


@dataclass(frozen=True, kw_only=True)
class ImportedModel:
    """A foreign model as Axon describes models.

    Attributes:
        schema: columns of a row, and the target.
        config: layers of the network.
        tensors: float64 tensors by name, with the shapes of `config.tensor_shapes()`.
        original: function that asks the foreign model. From rows of cells it returns float64 `(rows, outputs)`:
            probabilities of all classes; scores of all classes for an `argmax` output; or the values of the targets.
        chosen: function from rows of cells to the place of the class that the foreign model chooses, `(rows,)`; None if
            the model chooses the class of the greatest answer.
        source: record of the origin for the checkpoint's section `training`, as JSON types, with `imported_from`.
    """

    schema: Schema
    config: SequenceConfig
    tensors: Mapping[str, Float64Array]
    original: Callable[[Sequence[Row]], NDArray[Any]]
    chosen: Callable[[Sequence[Row]], NDArray[np.intp]] | None = None
    source: Mapping[str, Any] = field(default_factory=dict)

    def checkpoint(self, data: Mapping[str, Any] | None = None) -> Checkpoint:
        """Makes the checkpoint, with the tensors rounded to float32.

        Args:
            data: section `data` of the checkpoint, as JSON types.

        Raises:
            ImportRefused: A weight is not finite in float32.
            ConfigError: Columns, network and tensors do not fit each other.
        """
        with np.errstate(over="ignore"):
            rounded = {name: np.asarray(tensor, dtype=np.float32) for name, tensor in self.tensors.items()}
        for name, tensor in rounded.items():
            if not np.isfinite(tensor).all():
                raise ImportRefused(f"tensor {name!r} holds a value that is not a finite number of 32 bits.")
        return Checkpoint(
            config=self.config, schema=self.schema, tensors=rounded, training=dict(self.source), data=dict(data or {})
        )

    def with_origins(self, place: Literal["mean", "center"]) -> ImportedModel:
        """Returns the model with an origin in each numeric column, so that float32 keeps the digits of far numbers.

        Args:
            place: statistic of the column that becomes the origin.
        """
        columns = tuple(
            replace(column, origin=column.mean if place == "mean" else column.fill)
            if isinstance(column, NumericColumn)
            else column
            for column in self.schema.columns
        )
        return replace(self, schema=replace(self.schema, columns=columns))

    def with_target_origin(self, origin: float) -> ImportedModel:
        """Returns the model with a target's origin; the last Linear computes the difference to this number.

        Args:
            origin: value near the model's answers.

        Returns:
            The same model if an activation or a normalisation follows the last Linear, or the Linear has no bias. The
            answers of an exponential output become multiples of the number.
        """
        last = self.config.sequence[-1]
        target = self.schema.target
        if not isinstance(target, NumericTarget):
            return self
        if target.mean:  # the values are rescaled after the network, in float64 until they are folded
            return self._with_target(replace(target, origin=target.mean))
        if last.kind != "linear" or not last.bias:
            return self
        name = f"{last.name}.bias"
        if self.config.output == "exponential":
            tensors = {**self.tensors, name: self.tensors[name] - np.log(origin / target.std)}
            return replace(self, tensors=tensors)._with_target(replace(target, std=origin))
        tensors = {**self.tensors, name: self.tensors[name] - origin / target.std}
        return replace(self, tensors=tensors)._with_target(replace(target, mean=origin, origin=origin))

    def with_target_origins(self, origins: Float64Array) -> ImportedModel:
        """Returns the model with the origins of several targets, as `with_target_origin` does for one.

        Args:
            origins: `(targets,)` values near the model's answers; 0 for a target that keeps its own.
        """
        target, last = self.schema.target, self.config.sequence[-1]
        if not isinstance(target, ValuesTarget):
            return self
        shift, targets = np.zeros(len(origins)), []
        for place, (own, origin) in enumerate(zip(target.targets, origins.tolist(), strict=True)):
            if origin and own.mean:
                targets.append(replace(own, origin=own.mean))
            elif origin and last.kind == "linear" and last.bias:
                shift[place] = origin / own.std
                targets.append(replace(own, mean=origin, origin=origin))
            else:
                targets.append(own)
        schema = replace(self.schema, target=ValuesTarget(targets=tuple(targets)))
        name = f"{last.name}.bias"
        tensors = {**self.tensors, name: self.tensors[name] - shift} if shift.any() else self.tensors
        return replace(self, tensors=tensors, schema=schema)

    def _with_target(self, target: NumericTarget) -> ImportedModel:
        return replace(self, schema=replace(self.schema, target=target))


def numeric_targets(names: Sequence[str]) -> NumericTarget | ValuesTarget:
    """Returns targets of unknown range, in the unit of the foreign model's answers.

    Args:
        names: name of each value of a row.
    """
    targets = [NumericTarget(name=name, mean=0.0, std=1.0, minimum=None, maximum=None) for name in names]
    return targets[0] if len(targets) == 1 else ValuesTarget(targets=tuple(targets))


def targets_of(names: Sequence[str]) -> NumericTarget | ValuesTarget:
    """Returns the targets that a user names in a list.

    Raises:
        ImportRefused: The list is empty, or an item is no text.
    """
    if not names or not all(isinstance(name, str) for name in names):
        raise ImportRefused("target= is the name of the target, or a list of names, one for each value of a row.")
    return numeric_targets(names)


def gaps_allowed(column: NumericColumn | CategoricalColumn | DateColumn) -> bool:
    """Returns True if a column takes a missing value."""
    return column.missing != "refuse" or (isinstance(column, CategoricalColumn) and column.fill is not None)
