"""Distributions of the training part's columns and of a model's predictions, for the checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn
from models.columns.schema import ClassTarget, Column, Schema
from models.distributions.distributions import (
    MAX_BINS,
    MAX_COLUMNS,
    CategoryCounts,
    Counts,
    Distributions,
    NumberCounts,
    prediction_names,
)
from models.distributions.row_counter import GAPS, RowCounter, rounded
from training.data.scratch import release_pages

_ROWS_A_BIN = 25  # least number of rows in a bin, so that a bin's share is known to a fifth
_MAX_ROWS = 50_000  # more rows make no bin better, and sorting them takes longer than training a small model
_MAX_CELLS = 5_000_000  # the same for wide tables
_LEAST_ROWS = 2_000
_Float = TypeVar("_Float", np.float32, np.float64)

_DIGITS = range(3, 18)  # significant digits of an edge


def training_distributions(
    schema: Schema, x: NDArray[np.float32], answers: NDArray[_Float], *, seed: int
) -> Distributions:
    """Measures the distributions of a model.

    Args:
        schema: schema of the model.
        x: `(rows, width)` encoded rows of the training part.
        answers: `(other rows, outputs)` answers of the network to rows that training did not learn from, in the unit
            of the target.
        seed: seed for the choice of rows where there are very many.
    """
    rows = len(x)
    columns = schema.columns[:MAX_COLUMNS]
    rng = np.random.default_rng(seed)
    singletons = _singletons(columns, x)
    x = _some(x, max(_LEAST_ROWS, min(_MAX_ROWS, _MAX_CELLS // len(columns))), rng)
    answers = _some(answers, _MAX_ROWS, rng)
    encoded = (answers - schema.origin).astype(np.float32)
    at, bins = 0, []
    for place, column in enumerate(columns):
        own = _column_bins(column, x[:, at : at + column.width])
        bins.append(replace(own, singletons=singletons[place]) if isinstance(own, CategoryCounts) else own)
        at += column.width
    predictions = dict(zip(prediction_names(schema), _prediction_bins(schema, encoded), strict=True))
    empty = Distributions(rows=rows, columns=tuple(bins), predictions=predictions)
    return _filled(empty, schema, x, encoded)


def _singletons(columns: Sequence[Column], x: NDArray[np.float32]) -> dict[int, int]:
    """Returns the number of categories that occur once in all rows, by the place of each column of categories.

    A sample of the rows has many such categories, however often they occur in the table.
    """
    places, at = {}, 0
    for place, column in enumerate(columns):
        if isinstance(column, CategoricalColumn):
            places[place] = (column, slice(at, at + column.width))
        at += column.width
    totals = {place: np.zeros(len(column.categories), np.int64) for place, (column, _) in places.items()}
    step = max(1, _MAX_CELLS // max(x.shape[1], 1))
    for begin in range(0, len(x), step) if places else ():
        block = x[begin : begin + step]
        for place, (column, own) in places.items():
            totals[place] += _category_counts(column, block[:, own])
        release_pages()
    return {place: int((counts == 1).sum()) for place, counts in totals.items()}


def _some(rows: NDArray[_Float], most: int, rng: np.random.Generator) -> NDArray[_Float]:
    """Returns at most so many rows, drawn at random."""
    return rows if len(rows) <= most else rows[np.sort(rng.choice(len(rows), most, replace=False))]


def _filled(
    empty: Distributions, schema: Schema, x: NDArray[np.float32], answers: NDArray[np.float32]
) -> Distributions:
    """Returns the distributions with the counts that the server's own counter gives for the same rows."""
    counter = RowCounter(schema, empty)
    step = max(1, 1_000_000 // schema.width)
    no_answers = answers[:0]
    counts = counter.count(x[:0], answers)
    for at in range(0, len(x), step):
        counts += counter.count(x[at : at + step], no_answers)
    filled: dict[str, list[Counts]] = {"columns": [], "predictions": []}
    for variable in counter.variables:
        gaps = int(counts[variable.end + GAPS])
        values = tuple(counts[variable.start : variable.end].tolist())
        part = filled["predictions" if variable.column is None else "columns"]
        part.append(replace(variable.counts, counts=values, gaps=gaps))
    predictions = dict(zip(empty.predictions, filled["predictions"], strict=True))
    return replace(empty, columns=tuple(filled["columns"]), predictions=predictions)


def _column_bins(column: Column, block: NDArray[np.float32]) -> Counts:
    """Returns the bins of a column, with counts of 0.

    Args:
        column: description of the column.
        block: `(rows, width)` encoded values.
    """
    if isinstance(column, CategoricalColumn):
        return _category_bins(_category_counts(column, block))
    values = block[:, 0]
    if column.missing == "indicator":
        values = values[block[:, -1] == 0]
    elif column.missing == "mean":
        values = values[values != rounded(column.shift, 0.0)]
    return _number_bins(values, column.origin)


def _category_counts(column: CategoricalColumn, block: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the number of rows of each category, `(categories,)`."""
    if column.encoding == "one_hot":
        sums: NDArray[np.int64] = block.sum(axis=0, dtype=np.float64).astype(np.int64)
        return sums
    codes = block[:, 0].astype(np.int64)
    if column.encoding == "sign":
        return np.array([(codes == -1).sum(), (codes == 1).sum()], dtype=np.int64)
    counts: NDArray[np.int64] = np.bincount(codes, minlength=len(column.categories) + 1)[1:]
    return counts


def _prediction_bins(schema: Schema, answers: NDArray[np.float32]) -> Iterator[Counts]:
    """Yields the bins of each of `prediction_names`, with counts of 0."""
    target = schema.target
    if isinstance(target, ClassTarget):
        yield _category_bins(np.bincount(answers.argmax(axis=1), minlength=len(target.labels)))
        yield _number_bins(answers.max(axis=1), 0.0)
    for values, one in zip(answers.T, schema.values, strict=False):
        yield _number_bins(values, one.origin)


def _category_bins(counts: NDArray[np.int64]) -> CategoryCounts:
    """Returns bins for the most frequent categories; those of equal frequency in their order."""
    most = np.sort(np.argsort(-counts, kind="stable")[:MAX_BINS])
    return CategoryCounts(
        categories=tuple(most.tolist()),
        counts=(0,) * (len(most) + (len(most) < len(counts))),
        singletons=int((counts == 1).sum()),
    )


def _number_bins(values: NDArray[np.float32], origin: float) -> NumberCounts:
    """Returns bins with about equally many values; a value that is very frequent gets a bin of its own."""
    values = np.sort(values)
    distinct, firsts = np.unique(values, return_index=True)
    bins = min(MAX_BINS, max(2, len(values) // _ROWS_A_BIN))
    if len(distinct) <= bins:
        cuts = range(1, len(distinct))
    else:
        # The edge that is nearest to each quantile, at a change of the value.
        wanted = len(values) * np.arange(1, bins) / bins
        after = np.clip(np.searchsorted(firsts, wanted), 1, len(firsts) - 1)
        before = np.maximum(after - 1, 1)
        nearer = np.where(wanted - firsts[before] < firsts[after] - wanted, before, after)
        cuts = np.unique(nearer).tolist()
    edges = sorted({_edge(float(distinct[at - 1]), float(distinct[at]), origin) for at in cuts})
    return NumberCounts(edges=tuple(edges), counts=(0,) * (len(edges) + 1))


def _edge(low: float, high: float, origin: float) -> float:
    """Returns a number with few digits that parts two neighbouring values, in the unit of the table."""
    middle = low / 2 + high / 2 + origin
    for digits in _DIGITS:
        edge = float(f"{middle:.{digits}g}")
        if low <= float(rounded(edge, origin)) < high:
            return edge
    return low + origin
