"""The comparison of a foreign model with Axon's network, on a thousand rows, before anything is published.

The network answers as the server answers: cells through `RowEncoder`, then the fused network in float32. The foreign
model answers in float64 where it can. Probabilities may differ by 1e-6, values by 1e-5 of their target's spread;
exponentials, whose rounding errors grow with them, by 1e-5 of themselves if that is more. A classifier without
probabilities has to choose the same class, unless the scores of both classes are equal but for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from conversion.importing.imported_model import Disagreement, Float64Array, ImportedModel, ImportRefused, Row
from conversion.importing.sample_rows import drawn_rows, sample_places
from models.answering import Answerer
from models.checkpoint import Checkpoint
from models.columns.cell_text import category_of
from models.columns.cells import shown
from models.columns.column import CategoricalColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, NumericTarget, ValuesTarget
from models.errors import AxonError, Fault, RowError

PROBABILITY_BOUND = 1e-6
VALUE_BOUND = 1e-5  # times the standard deviation of the original's values
_SCORE_BOUND = 1e-12  # times the largest score: below, two scores are equal but for rounding in float64
_FAR = 64.0  # ratio of the values' mean to their spread from which on a target gets an origin
_ENOUGH = 0.5  # share of the bound that the server's own roundings may add to
_ROUNDING = 1e-3  # difference that float32 alone can make, of a probability or in spreads
_SHOWN_CELLS = 12
_ORIGINS: tuple[Literal["center", "mean"], ...] = ("center", "mean")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The result of a comparison that the model passed.

    Attributes:
        checkpoint: checkpoint of the model, ready for the store.
        rows: number of rows compared.
        worst: greatest difference of a probability, of a value in spreads, or of two scores in the largest one.
        note: sentence on rows whose equal probabilities hide which label the original answers; empty without such rows.
    """

    checkpoint: Checkpoint
    rows: int
    worst: float
    note: str = ""


def agreed(imported: ImportedModel, sample: Sequence[Row] | None = None, *, name: str) -> Agreement:
    """Compares the network with the foreign model, and returns the checkpoint if both answer alike.

    Columns with numbers far from 0, and a target with values far from 0, get an origin if the answers need the digits
    that float32 would lose without one.

    Args:
        imported: foreign model and the network made from it.
        sample: rows of the user's own, as cells in the order of the columns; rows are drawn from the columns if None.
        name: name of the model, for the checkpoint's section `data`.

    Raises:
        Disagreement: An answer differs; the message has the row that differs most, both answers and the bound.
        ImportRefused: The foreign model answers none, or no finite numbers, or all categories of a column of the
            sample are unknown.
        RowError: The columns refuse a row of the sample.
    """
    rows = drawn_rows(imported.schema) if sample is None else _taken(imported, sample)
    expected = _original_answers(imported, rows)
    imported = _with_target_origin(imported, expected)
    found = _difference(imported, rows, expected, name)
    for place in _ORIGINS:
        if found.share > _ENOUGH:  # more digits of far numbers may be all that is missing
            other = _difference(imported.with_origins(place), rows, expected, name)
            found = min(found, other, key=lambda one: one.share)
    if found.text:
        hint = "" if sample else " The rows were drawn around the centres of the columns; rows=… compares on your own."
        raise Disagreement(found.text + hint)
    note = _other_labels(imported, rows, found.answers)
    return Agreement(checkpoint=found.checkpoint, rows=len(rows), worst=found.worst, note=note)


@dataclass(frozen=True, kw_only=True)
class _Difference:
    checkpoint: Checkpoint
    answers: Float64Array  # of the network
    worst: float
    share: float  # of the bound; the less, the more digits are right
    text: str  # what differs, for the user; empty if nothing does


def _taken(imported: ImportedModel, sample: Sequence[Row]) -> list[Row]:
    """Returns the chosen rows of the user's sample, after a check of each cell."""
    places = sample_places(len(sample))
    rows = [list(sample[place]) for place in places]
    try:
        RowEncoder(imported.schema).encode(rows)
    except RowError as error:
        faults = [Fault(places[fault.row], fault.column, fault.message) for fault in error.faults]
        raise RowError(sorted(faults, key=lambda fault: fault.row)) from None
    _check_categories(imported, rows)
    return rows


def _check_categories(imported: ImportedModel, rows: Sequence[Row]) -> None:
    """Refuses rows in which all categories of a column are unknown, so that the comparison would not see its weights.

    Raises:
        ImportRefused: No cell of a column is a known category, and some are not missing.
    """
    for place, column in enumerate(imported.schema.columns):
        if not isinstance(column, CategoricalColumn):
            continue
        texts = {category_of(row[place]): None for row in rows}  # in order
        found = [text for text in texts if text is not None]
        if found and not texts.keys() & set(column.categories):
            raise ImportRefused(
                f"no cell of column {column.name!r} in rows= is a category that the model knows: rows= has "
                f"{found[0]!r:.60}, and the model {column.categories[0]!r:.60}. Give rows with the categories as the "
                "model's training table has them."
            )


def _original_answers(imported: ImportedModel, rows: Sequence[Row]) -> Float64Array:
    try:
        answers = np.asarray(imported.original(rows), dtype=np.float64)
    except AxonError:
        raise
    except Exception as error:  # any error of a foreign model's own code
        reason = f"{type(error).__name__}: {error}"
        raise ImportRefused(f"the original model does not answer the rows of the comparison: {reason:.400}") from error
    width = imported.config.n_classes or imported.config.out_features
    if answers.shape != (len(rows), width):
        raise ImportRefused(
            f"the original model answers {len(rows)} rows with an array of shape {answers.shape}, and not "
            f"{(len(rows), width)}."
        )
    if not np.isfinite(answers).all():
        row = int(np.flatnonzero(~np.isfinite(answers).all(axis=1))[0])
        raise ImportRefused(f"the original model's answer to {_row(imported, rows[row])} is not a finite number.")
    return answers


def _with_target_origin(imported: ImportedModel, expected: Float64Array) -> ImportedModel:
    if imported.config.task != "regression":
        return imported
    if isinstance(imported.schema.target, ValuesTarget):
        means, spreads = expected.mean(axis=0), expected.std(axis=0)
        is_far = (np.abs(means) > _FAR * spreads) & (spreads > 0)
        return imported.with_target_origins(np.where(is_far, means, 0.0)) if is_far.any() else imported
    mean, spread = float(expected.mean()), float(expected.std())
    is_exponential = imported.config.output == "exponential"
    needs_origin = mean > 0 if is_exponential else abs(mean) > _FAR * spread > 0
    return imported.with_target_origin(mean) if needs_origin else imported


def _difference(imported: ImportedModel, rows: Sequence[Row], expected: Float64Array, name: str) -> _Difference:
    data = {"name": name, "compared_rows": len(rows)}
    checkpoint = imported.checkpoint(data)
    answerer = Answerer(checkpoint)
    try:
        answers = np.asarray(answerer.answers(rows), dtype=np.float64)
    except RowError as error:
        at = error.faults[0].row
        raise ImportRefused(
            f"the imported model's answer to {_row(imported, rows[at])} is not a finite number."
        ) from None
    grows: Float64Array | float = 1.0  # factor on the bound, for each row
    if imported.config.has_probabilities:
        apart = np.abs(answers - expected).max(axis=1)
        bound, what = PROBABILITY_BOUND, "probabilities"
        in_words, unit = f"{bound:g}", 1.0
    elif isinstance(imported.schema.target, ValuesTarget):
        spreads = expected.std(axis=0)
        units = np.where(spreads > 0, spreads, np.abs(expected).max(axis=0))
        of_targets = np.abs(answers - expected) / np.where(units > 0, units, 1.0)  # in the spreads of the targets
        apart, unit = of_targets.max(axis=1), 1.0
        most = int(np.nan_to_num(of_targets, nan=np.inf).max(axis=0).argmax())
        bound, what = VALUE_BOUND, f"values of {imported.schema.target.names[most]!r}"
        in_words = f"{VALUE_BOUND:g}, both of that target's spread"
    elif imported.config.task == "regression":
        apart = np.abs(answers - expected)[:, 0]
        unit = float(expected.std()) or float(np.abs(expected).max()) or 1.0
        bound, what = VALUE_BOUND * unit, "values"
        in_words = f"{bound:.3g}, {VALUE_BOUND:g} of the values' spread"
        if imported.config.output == "exponential":
            grows = np.maximum(np.abs(expected[:, 0]) / unit, 1)
            in_words += " or, where that is more, of the value"
    else:
        chosen, best = answers.argmax(axis=1), expected.max(axis=1)
        apart = best - np.take_along_axis(expected, chosen[:, None], axis=1)[:, 0]
        unit = float(np.abs(expected).max()) or 1.0
        bound, what = _SCORE_BOUND * unit, "scores"
        in_words = f"{bound:.3g}, {_SCORE_BOUND:g} of the largest score"
    apart = np.where(np.isnan(apart), np.inf, apart)  # an answer that is not finite in float32
    is_wrong = apart > bound * grows
    worst = int((apart / grows).argmax())
    size = float(apart[worst])
    share = float(apart.max()) / bound if bound else math.inf if size else 0.0
    if not is_wrong.any():
        return _Difference(checkpoint=checkpoint, answers=answers, worst=size / unit, share=share, text="")
    count = int(is_wrong.sum())
    rounding = (
        " A difference this small is the rounding of 32-bit numbers: the scores are large, as they are where a column "
        "is not scaled. Scale the columns, and train again."
        if size / unit < _ROUNDING
        else ""
    )
    text = (
        f"the network made from the model answers {count} of {len(rows)} rows differently, so nothing is published. "
        f"The greatest difference is that of {_row(imported, rows[worst])}: the original answers "
        f"{_answer(imported, expected[worst])}, the network {_answer(imported, answers[worst])}. The {what} differ by "
        f"{size:.3g}, and may differ by {in_words}.{rounding}"
    )
    return _Difference(checkpoint=checkpoint, answers=answers, worst=size / unit, share=share, text=text)


def _other_labels(imported: ImportedModel, rows: Sequence[Row], answers: Float64Array) -> str:
    """Returns a sentence on rows with another label than the original's; empty if there are none.

    The probabilities agree, so those of both labels are equal but for rounding: as where the scores of two classes
    against the rest are so large that both probabilities are 1 before they are divided by their sum.
    """
    target = imported.schema.target
    if imported.chosen is None or not isinstance(target, ClassTarget):
        return ""
    expected, own = imported.chosen(rows), answers.argmax(axis=1)
    differs = np.flatnonzero(own != expected)
    if not len(differs):
        return ""
    first = int(differs[0])
    return (
        f"the network answers another label than the original in {len(differs)} of {len(rows)} compared rows, as in "
        f"{_row(imported, rows[first])}: {target.labels[own[first]]}, and the original "
        f"{target.labels[expected[first]]}. The probabilities of both labels are equal there but for rounding, and the "
        "original decides by scores that the probabilities do not show. If these rows matter, scale the columns or "
        "regularise more, and train again."
    )


def _row(imported: ImportedModel, row: Row) -> str:
    cells = [f"{name}={_cell(cell)}" for name, cell in zip(imported.schema.names, row, strict=True)]
    more = [] if len(cells) <= _SHOWN_CELLS else [f"… ({len(cells)} columns)"]
    return f"the row {', '.join(cells[:_SHOWN_CELLS] + more)}"


def _cell(cell: Any) -> str:
    return shown(cell)


def _answer(imported: ImportedModel, answer: Float64Array) -> str:
    target = imported.schema.target
    if isinstance(target, NumericTarget):
        return f"{answer[0]:.9g}"
    names = target.labels if isinstance(target, ClassTarget) else target.names
    pairs = [f"{name} {number:.9g}" for name, number in zip(names, answer.tolist(), strict=True)]
    return ", ".join(pairs[:_SHOWN_CELLS])
