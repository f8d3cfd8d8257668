"""Class codes: targets of numbers that may stand for classes, and the note about a target that is ambiguous."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.split import MIN_CLASS_ROWS

# A target of at most this many different whole numbers, none of them rare, is read as classes. A count may have few
# values too, but then some of them are rare.
MAX_NUMBERED_CLASSES = 20

# A target with more different values hardly holds codes: a table rarely numbers so many classes.
_MAX_CODES = 50
_ROWS_A_VALUE = 3  # on average; with fewer rows, there are few different values because there are few rows
_ROWS_A_CODE = 10  # least rows of each code, if codes are many or have decimals: counts and measures have rare values
_LISTED = 3  # codes named in a note


def is_numbered_classes(numbers: NDArray[np.float64]) -> bool:
    """Returns True if a target of numbers is read as classes where the user does not name the task."""
    if (numbers != np.round(numbers)).any():
        return False
    counts = np.unique(numbers, return_counts=True)[1]
    return len(counts) <= 2 or (len(counts) <= MAX_NUMBERED_CLASSES and int(counts.min()) >= MIN_CLASS_ROWS)


def class_codes_note(name: str, numbers: NDArray[np.float64]) -> str | None:
    """Returns a sentence on a target that is read as values but may hold class codes; None for other targets.

    Args:
        name: name of the target.
        numbers: `(rows,)` values of the target.
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
    """Returns the options with which numbers are read as classes, in words; rare classes have to be left out."""
    rare = counts < MIN_CLASS_ROWS
    if not rare.any():
        return "--task classification"
    shown = ", ".join(f"{value:g}" for value in values[rare][:_LISTED]) + (", …" if rare.sum() > _LISTED else "")
    rows = "the 1 row" if counts[rare].sum() == 1 else f"the {counts[rare].sum():,} rows"
    return f"--task classification --drop-rare-classes, which leaves out {rows} of {shown}"
