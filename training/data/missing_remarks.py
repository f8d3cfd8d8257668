"""Remarks on values and categories that may stand for missing, each with the option that makes these missing."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError
from training.data.extremes import find_extremes, find_fill_value
from training.data.missing_texts import is_fill_text, plainly_written, stands_for_missing

# Least range of a target, relative to its greatest extreme value, that float32 still resolves into some steps.
_LEAST_PART = 1e-6


def missing_option(name: str, values: Iterable[float | str], *, is_target: bool) -> str:
    """Returns the command-line option that declares values of a column missing."""
    written = [value if isinstance(value, str) else plainly_written(value) for value in values]
    texts = " ".join(shlex.quote(f"{name}={value}") for value in written)
    return f"--missing-values {texts}{' --drop-missing-target' if is_target else ''}"


def extreme_values(
    values: NDArray[np.float64], name: str, *, called: str, is_target: bool, at: Callable[[int], str]
) -> str | None:
    """Returns a remark on extreme values or fill values, or None; the words follow the column's name.

    Args:
        values: `(rows,)` numbers, NaN for missing.
        name: name of the column.
        called: name of the column in messages.
        is_target: True for the target.
        at: function from a row to its place in the file in words.

    Raises:
        DataError: the target has extreme values so large that the others are equal in 32-bit floating point.
    """
    extremes = find_extremes(values)
    if extremes is None:
        fill = find_fill_value(values)
        return None if fill is None else _fill(fill, int((values == fill).sum()), name, is_target)
    rows = np.flatnonzero(np.isin(values, extremes.values))
    where = f"at {at(int(rows[0]))}" if len(rows) == 1 else f"in {len(rows):,} cells"
    held = f"holds {', '.join(f'{value:.15g}' for value in extremes.values)} {where}"
    others = f"{extremes.low:.6g} to {extremes.high:.6g}"
    option = missing_option(name, extremes.values, is_target=is_target)
    if is_target and extremes.high - extremes.low < _LEAST_PART * max(map(abs, extremes.values)):
        raise DataError(
            f"{called} {held}, beside which its other values, {others}, are one number in 32-bit floating point: if "
            f"that stands for missing or is a slip, leave it out ({option}), or predict the logarithm."
        )
    return (
        f"{held}, far from all its other values, {others}: if that stands for missing or is a slip, read it as missing "
        f"({option})."
    )


def gap_names(names: Sequence[str], counts: NDArray[np.int64], name: str, *, is_target: bool) -> str | None:
    """Returns a remark on categories that people write for a missing value, to follow the column's name, or None.

    Args:
        names: distinct categories.
        counts: `(names,)` number of cells of each category.
        name: name of the column.
        is_target: True for the target.
    """
    gaps = [i for i, text in enumerate(names) if stands_for_missing(text) or is_fill_text(text)]
    if not 0 < len(gaps) < len(names):  # if all categories are such texts, as + and - are, none stands for missing
        return None
    listed, count = ", ".join(repr(names[i]) for i in gaps), int(counts[gaps].sum())
    option = missing_option(name, (names[i] for i in gaps), is_target=is_target)
    return f"holds {listed} in {_cells(count)}, read as a name: if it stands for missing, say so ({option})."


def _fill(value: float, count: int, name: str, is_target: bool) -> str:
    option = missing_option(name, [value], is_target=is_target)
    return (
        f"holds {value:.15g} in {_cells(count)}, as tables do where a value is missing: if it stands for that, say so "
        f"({option})."
    )


def _cells(count: int) -> str:
    return "1 cell" if count == 1 else f"{count:,} cells"
