"""Counting of encoded rows and answers in the bins of a model's distributions: a few array operations for all columns.

All counts of a model lie in one vector of slots. Each variable (a column, or a kind of prediction) has its bins first
and then `EXTRA_SLOTS` more: gaps; numbers below the range of training, or unknown categories; numbers above the range.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn
from models.columns.schema import ClassTarget, Column, NumericTarget, Schema, ValuesTarget
from models.distributions.distributions import CategoryCounts, Counts, Distributions, NumberCounts

EXTRA_SLOTS = 3
GAPS, BELOW, ABOVE = 0, 1, 2  # positions after a variable's bins
UNKNOWN = BELOW  # a column of categories has no range
_ROUNDING = 1e-6  # above the error of a sum of shares, such as ten tenths of a cell

Float32Array = NDArray[np.float32]
Slots = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Variable:
    """The place of one variable in the vector of slots.

    Attributes:
        name: name of the column, or of the kind of prediction.
        column: column of the schema; None for a prediction.
        counts: distribution in training.
        start: first slot.
        bins: number of bins.
    """

    name: str
    column: Column | None
    counts: Counts
    start: int
    bins: int

    @property
    def end(self) -> int:
        """Slot after the last bin, where the extra slots begin."""
        return self.start + self.bins


class RowCounter:
    """A counter of rows in the bins of one model version.

    Args:
        schema: schema of the model.
        distributions: distributions in training.

    Attributes:
        variables: variables in order: columns, then predictions.
        slots: number of slots.
    """

    def __init__(self, schema: Schema, distributions: Distributions) -> None:
        self.variables: list[Variable] = []
        self.slots = 0
        for column, counts in zip(schema.columns, distributions.columns, strict=False):
            self._add(column.name, column, counts)
        columns = len(self.variables)
        for name, counts in distributions.predictions.items():
            self._add(name, None, counts)
        predictions = self.variables[columns:]
        starts, at = [], 0
        for column in schema.columns:
            starts.append(at)
            at += column.width
        placed = list(zip(self.variables[:columns], starts, strict=False))
        self._numbers = _Numbers([(v, at) for v, at in placed if not isinstance(v.column, CategoricalColumn)])
        categorical = [(v, at) for v, at in placed if isinstance(v.column, CategoricalColumn)]
        self._one_hots = _OneHots([(v, at) for v, at in categorical if _encoding(v) == "one_hot"])
        self._codes = _Codes([(v, at) for v, at in categorical if _encoding(v) != "one_hot"])
        kind = _Targets if isinstance(schema.target, ValuesTarget) else _Predictions
        self._predictions: _Targets | _Predictions = kind(predictions, schema)
        only = [v.end for v, _ in categorical if _gaps_are_unknown(v)]
        self._only_unknown = np.array(only, dtype=np.intp)
        self._either = {v.name: v.end for v, _ in categorical if not _gaps_are_unknown(v)}

    def _add(self, name: str, column: Column | None, counts: Counts) -> None:
        bins = len(counts.counts)
        self.variables.append(Variable(name=name, column=column, counts=counts, start=self.slots, bins=bins))
        self.slots += bins + EXTRA_SLOTS

    def count(self, rows: Float32Array, answers: Float32Array) -> Slots:
        """Counts rows.

        Cells without a category count as gaps here; `move_unknown` tells unknown ones apart.

        Args:
            rows: `(rows, width)` encoded features.
            answers: `(rows, outputs)` finite answers of the network, without the target's origin.

        Returns:
            `(slots,)` counts.
        """
        counts = np.zeros(self.slots, dtype=np.int64)
        self._numbers.count(rows, counts)
        self._one_hots.count(rows, counts)
        self._codes.count(rows, counts)
        self._predictions.count(answers, counts)
        return counts

    def move_unknown(self, counts: Slots, unknown: dict[str, float]) -> None:
        """Moves cells from gaps to unknown categories.

        A column that refuses gaps, or reads them as a category, has only unknown cells without a category. For a column
        that accepts both, the encoder of the rows knows.

        Args:
            counts: `(slots,)` counts of some rows, changed in place.
            unknown: number of unknown cells among these rows and later ones, by column; moved cells, which are whole,
                are subtracted.
        """
        moved = counts[self._only_unknown + GAPS]
        counts[self._only_unknown + GAPS] = 0
        counts[self._only_unknown + UNKNOWN] += moved
        for column, cells in unknown.items():
            if (end := self._either.get(column)) is not None:
                some = min(int(cells + _ROUNDING), int(counts[end + GAPS]))
                counts[end + GAPS] -= some
                counts[end + UNKNOWN] += some
                unknown[column] = cells - some


def _encoding(variable: Variable) -> str:
    return variable.column.encoding if isinstance(variable.column, CategoricalColumn) else ""


def _gaps_are_unknown(variable: Variable) -> bool:
    column = variable.column
    return isinstance(column, CategoricalColumn) and (column.missing == "refuse" or column.fill is not None)


def rounded(values: object, origin: NDArray[np.float64] | float) -> Float32Array:
    """Returns numbers with the rounding of the encoder: minus the origin in float64, then float32."""
    return (np.asarray(values, dtype=np.float64) - origin).astype(np.float32)


class _Numbers:
    """Columns of numbers and dates, with their encoded values in one matrix."""

    def __init__(self, variables: list[tuple[Variable, int]]) -> None:
        self._places = np.array([at for _, at in variables], dtype=np.intp)
        most = max((len(v.counts.counts) - 1 for v, _ in variables), default=0)
        self._edges = np.full((most, len(variables)), np.inf, dtype=np.float32)
        self._starts = np.array([v.start for v, _ in variables], dtype=np.intp)
        self._ends = np.array([v.end for v, _ in variables], dtype=np.intp)
        self._low = np.full(len(variables), -np.inf, dtype=np.float32)
        self._high = np.full(len(variables), np.inf, dtype=np.float32)
        indicators, fills = [], []
        for i, (variable, at) in enumerate(variables):
            column, counts = variable.column, variable.counts
            assert column is not None and not isinstance(column, CategoricalColumn)  # noqa: S101, PT018
            assert isinstance(counts, NumberCounts)  # noqa: S101
            self._edges[: len(counts.edges), i] = rounded(counts.edges, column.origin)
            if column.minimum is not None and column.maximum is not None:
                self._low[i] = rounded(column.minimum, column.origin)
                self._high[i] = rounded(column.maximum, column.origin)
            if column.missing == "indicator":
                indicators.append((i, at + column.width - 1))
            elif column.missing == "mean":
                fills.append((i, rounded(column.shift, 0.0)))
        self._flagged = np.array([i for i, _ in indicators], dtype=np.intp)
        self._flags = np.array([at for _, at in indicators], dtype=np.intp)
        self._filled = np.array([i for i, _ in fills], dtype=np.intp)
        self._fills = np.array([fill for _, fill in fills], dtype=np.float32)

    def count(self, rows: Float32Array, counts: Slots) -> None:
        if not len(self._places):
            return
        values = rows[:, self._places]
        slots = np.empty(values.shape, dtype=np.intp)
        slots[:] = self._starts
        for edges in self._edges:
            slots += values > edges
        if len(self._flagged):
            slots[:, self._flagged] = np.where(
                rows[:, self._flags] != 0, self._ends[self._flagged], slots[:, self._flagged]
            )
        if len(self._filled):
            gaps = values[:, self._filled] == self._fills
            slots[:, self._filled] = np.where(gaps, self._ends[self._filled], slots[:, self._filled])
        counts += np.bincount(slots.ravel(), minlength=len(counts))
        counts[self._ends + BELOW] += (values < self._low).sum(axis=0)
        counts[self._ends + ABOVE] += (values > self._high).sum(axis=0)


class _OneHots:
    """Columns with one feature for each category, whose sums are the counts."""

    def __init__(self, variables: list[tuple[Variable, int]]) -> None:
        places: list[int] = []
        slots: list[int] = []
        firsts = []
        for variable, at in variables:
            firsts.append(len(places))
            slots += (variable.start + bins_of_categories(variable)).tolist()
            places += range(at, at + len(slots) - len(places))
        self._places = np.array(places, dtype=np.intp)
        self._slots = np.array(slots, dtype=np.intp)
        self._firsts = np.array(firsts, dtype=np.intp)
        self._ends = np.array([v.end for v, _ in variables], dtype=np.intp)

    def count(self, rows: Float32Array, counts: Slots) -> None:
        if not len(self._places):
            return
        sums = rows[:, self._places].sum(axis=0, dtype=np.float64).astype(np.int64)
        np.add.at(counts, self._slots, sums)
        counts[self._ends + GAPS] += len(rows) - np.add.reduceat(sums, self._firsts)


class _Codes:
    """Columns with one feature for the category: a position from 1 on, or -1 and 1; 0 means no category."""

    def __init__(self, variables: list[tuple[Variable, int]]) -> None:
        self._places = np.array([at for _, at in variables], dtype=np.intp)
        shifts, firsts, slots = [], [], [np.empty(0, dtype=np.intp)]
        size = 0
        for variable, _ in variables:
            bins = variable.start + bins_of_categories(variable)
            gaps = variable.end + GAPS
            is_sign = _encoding(variable) == "sign"
            table = np.array([bins[0], gaps, bins[1]] if is_sign else [gaps, *bins], dtype=np.intp)
            shifts.append(1 if is_sign else 0)
            firsts.append(size)
            slots.append(table)
            size += len(table)
        self._shifts = np.array(shifts, dtype=np.intp) + np.array(firsts, dtype=np.intp)
        self._slots = np.concatenate(slots)

    def count(self, rows: Float32Array, counts: Slots) -> None:
        if not len(self._places):
            return
        codes = rows[:, self._places].astype(np.intp) + self._shifts
        counts += np.bincount(self._slots[codes].ravel(), minlength=len(counts))


class _Predictions:
    """The kinds of predictions of a model."""

    def __init__(self, variables: list[Variable], schema: Schema) -> None:
        target = schema.target
        self._classes: NDArray[np.intp] | None = None
        for variable in variables:
            if variable.name == "class":
                assert isinstance(target, ClassTarget)  # noqa: S101
                self._classes = variable.start + bins_of_categories(variable, len(target.labels))
            else:
                assert isinstance(variable.counts, NumberCounts)  # noqa: S101
                self._numbers = variable
                origin = target.origin if isinstance(target, NumericTarget) else 0.0
                self._edges = rounded(variable.counts.edges, origin)
        self._range: tuple[np.float32, np.float32] | None = None
        if isinstance(target, NumericTarget) and target.minimum is not None and target.maximum is not None:
            self._range = np.float32(target.minimum - target.origin), np.float32(target.maximum - target.origin)

    def count(self, answers: Float32Array, counts: Slots) -> None:
        numbers = self._numbers
        if self._classes is not None:
            counts += np.bincount(self._classes[answers.argmax(axis=1)], minlength=len(counts))
            values = answers.max(axis=1)
        else:
            values = answers[:, 0]
        slots = numbers.start + np.searchsorted(self._edges, values)
        counts += np.bincount(slots, minlength=len(counts))
        if self._range is not None:
            counts[numbers.end + BELOW] += int((values < self._range[0]).sum())
            counts[numbers.end + ABOVE] += int((values > self._range[1]).sum())


class _Targets:
    """The predictions of several targets, with the values of all targets in one matrix."""

    def __init__(self, variables: list[Variable], schema: Schema) -> None:
        targets = schema.values
        most = max(len(v.counts.counts) - 1 for v in variables)
        self._edges = np.full((most, len(variables)), np.inf, dtype=np.float32)
        self._starts = np.array([v.start for v in variables], dtype=np.intp)
        self._ends = np.array([v.end for v in variables], dtype=np.intp)
        self._low = np.full(len(variables), -np.inf, dtype=np.float32)
        self._high = np.full(len(variables), np.inf, dtype=np.float32)
        for i, (variable, target) in enumerate(zip(variables, targets, strict=True)):
            counts = variable.counts
            assert isinstance(counts, NumberCounts)  # noqa: S101
            self._edges[: len(counts.edges), i] = rounded(counts.edges, target.origin)
            if target.minimum is not None and target.maximum is not None:
                self._low[i] = rounded(target.minimum, target.origin)
                self._high[i] = rounded(target.maximum, target.origin)

    def count(self, answers: Float32Array, counts: Slots) -> None:
        slots = np.empty(answers.shape, dtype=np.intp)
        slots[:] = self._starts
        for edges in self._edges:
            slots += answers > edges
        counts += np.bincount(slots.ravel(), minlength=len(counts))
        counts[self._ends + BELOW] += (answers < self._low).sum(axis=0)
        counts[self._ends + ABOVE] += (answers > self._high).sum(axis=0)


def bins_of_categories(variable: Variable, known: int | None = None) -> NDArray[np.intp]:
    """Returns the bin of each category, `(categories,)`; those that are not counted singly share the last bin.

    Args:
        variable: column of categories, or the predicted classes.
        known: number of categories; None to take it from the column.
    """
    counts = variable.counts
    assert isinstance(counts, CategoryCounts)  # noqa: S101
    if known is None:
        assert isinstance(variable.column, CategoricalColumn)  # noqa: S101
        known = len(variable.column.categories)
    bins = np.full(known, variable.bins - 1, dtype=np.intp)
    bins[list(counts.categories)] = np.arange(len(counts.categories))
    return bins
