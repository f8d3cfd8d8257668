"""Class codes: numbers that may stand for classes, read as such or as values, and what is told of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.split import MIN_CLASS_ROWS

# A target of whole numbers with at most this many different ones, none of them rare, is read as classes: a count may
# have few values too, but then some are.
MAX_NUMBERED_CLASSES = 20

# Beyond, numbers are hardly codes: nobody numbers so many classes, and each value is a value.
_MAX_CODES = 50
_ROWS_A_VALUE = 3  # on average; with fewer, values are few because rows are
_ROWS_A_CODE = 10  # of each of many codes, or of codes with decimals: of counts and measures, some are rare
_LISTED = 3  # codes named in a note


def is_numbered_classes(numbers: NDArray[np.float64]) -> bool:
    """Whether a target of numbers is read as classes where nobody says what it is."""
    if (numbers != np.round(numbers)).any():
        return False
    counts = np.unique(numbers, return_counts=True)[1]
    return len(counts) <= 2 or (len(counts) <= MAX_NUMBERED_CLASSES and int(counts.min()) >= MIN_CLASS_ROWS)


def class_codes_note(name: str, numbers: NDArray[np.float64]) -> str | None:
    """A sentence on a target of numbers that is read as values and may be codes of classes; None where it is neither.

    Args:
        name: the target.
        numbers: `(rows,)` its values.
    """
    values, counts = np.unique(numbers, return_counts=True)
    is_whole = not (values != np.round(values)).any()
    if len(values) > _MAX_CODES or len(numbers) < _ROWS_A_VALUE * len(values) or (counts >= MIN_CLASS_ROWS).sum() < 2:
        return None
    if (len(values) > MAX_NUMBERED_CLASSES or not is_whole) and int(counts.min()) < _ROWS_A_CODE:
        return None
    whole = "whole " if is_whole else ""
    return (
        f"Target {name!r} has {len(values)} different {whole}numbers only, and is read as values: a regression "
        f"(--task regression says so). If they are codes of classes, say {classes_option(values, counts)}."
    )


def classes_option(values: NDArray[np.float64], counts: NDArray[np.int64]) -> str:
    """The options with which numbers are read as classes, in words: rare ones have to be left out."""
    rare = counts < MIN_CLASS_ROWS
    if not rare.any():
        return "--task classification"
    shown = ", ".join(f"{value:g}" for value in values[rare][:_LISTED]) + (", …" if rare.sum() > _LISTED else "")
    rows = "the 1 row" if counts[rare].sum() == 1 else f"the {counts[rare].sum():,} rows"
    return f"--task classification --drop-rare-classes, which leaves out {rows} of {shown}"
