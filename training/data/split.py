"""Splits the rows of a table into training, validation (which selects the best epoch) and test (for final metrics)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError, DataError
from training.data.training_table import TrainingTable

Rows = NDArray[np.int64]
Shares = tuple[float, float, float]
SplitBy = Literal["chance", "group", "time"]

PARTS = ("train", "validation", "test")
# Each part needs a row of each class; a test part with a single value has no variance to explain.
MIN_CLASS_ROWS = 3
MIN_REGRESSION_ROWS = 10

_LISTED = 3  # classes named in a message
_USES = {2: "train and validate with", 3: "train, validate and test with"}  # words in messages, by number of parts


@dataclass(frozen=True, kw_only=True)
class Split:
    """Row indices of the three parts, shuffled within each part.

    Attributes:
        train, validation, test: `(rows of the part,)` int64.
        by: rule of the split: `chance` (each class in the same shares; copies of a row in one part), `group` (the rows
            of a group are in one part) or `time` (older rows train, newer ones test).
        has_test_file: True if the test part is a file of its own.
        folds: `(training rows,)` fold of each row, whose members do not learn from it; the validation part then is the
            training part. None if all members learn from the same rows.
    """

    train: Rows
    validation: Rows
    test: Rows
    by: SplitBy = "chance"
    has_test_file: bool = False
    folds: NDArray[np.int64] | None = None

    @classmethod
    def whole(cls, rows: int) -> Split:
        """Puts every row in every part: for a truth table, which lists all possible rows."""
        everything = np.arange(rows, dtype=np.int64)
        return cls(train=everything, validation=everything, test=everything)

    def sizes(self) -> dict[str, int]:
        """Returns the number of rows by part."""
        return {part: len(getattr(self, part)) for part in PARTS}

    def shown_sizes(self) -> list[str]:
        """Returns the number of rows of each part in words, such as `105 train`."""
        sizes = self.sizes()
        if self.folds is None:
            return [f"{sizes[part]:,} {part}" for part in PARTS]
        return [f"{sizes['train']:,} train and validation by folds", f"{sizes['test']:,} test"]


def check_shares(shares: Shares) -> Shares:
    """Returns the shares of training, validation and test as floats.

    Raises:
        ConfigError: there are not three shares above 0 that add up to 1.
    """
    if isinstance(shares, str) or len(shares) != 3 or any(isinstance(s, bool) or not s > 0 for s in shares):
        raise ConfigError(f"split needs three shares above 0 for train, validation and test, got {shares!r}.")
    if abs(sum(shares) - 1) > 1e-6:
        raise ConfigError(f"split must add up to 1, got {shares!r}.")
    return (float(shares[0]), float(shares[1]), float(shares[2]))


def split_rows(table: TrainingTable, shares: Shares, *, rng: np.random.Generator) -> Split:
    """Splits the rows into the three parts: by the table's groups or times, if any, otherwise at random.

    A random split is stratified: each class of a classification is divided in the same shares. Rows that are copies of
    one another stay together (`equal_rows`). A split by group keeps whole groups, with parts and their classes as close
    to the shares as groups allow. A split by time keeps rows of one time together. If the table has its own test part
    (`test_rows`), the other rows are split between training and validation in the proportion of their shares. Rows that
    equal a row of this test part are then in no part if the choices keep equal rows together.

    Args:
        table: rows to split.
        shares: shares of training, validation and test; they add up to 1.
        rng: random generator of the shuffle.

    Raises:
        DataError: there are too few rows, of a class or in all; or too few groups, times or different rows; or the
            training part lacks a class.
    """
    rows = _divided_rows(table)
    given = np.array(shares if not table.test_rows else (shares[0], shares[1]))
    given = given / given.sum()
    by: SplitBy = "chance" if table.group is None and table.time is None else "group" if table.time is None else "time"
    divided = table if len(rows) == table.rows else _some_rows(table, rows)
    places = np.arange(len(rows), dtype=np.int64)
    if divided.group is not None:
        parts = _by_group(divided, divided.group, given, rng)
    elif divided.time is not None:
        parts = _by_time(divided.time, given)
    else:
        parts = _by_chance(divided, places, given, rng)
    if by != "chance":
        _check_classes(divided, parts[0], by)
    parts = [rows[part] for part in parts]
    if table.test_rows:
        parts.append(np.arange(table.rows - table.test_rows, table.rows, dtype=np.int64))
    train, validation, test = (rng.permutation(part).astype(np.int64) for part in parts)
    return Split(train=train, validation=validation, test=test, by=by, has_test_file=table.test_rows > 0)


def _divided_rows(table: TrainingTable) -> Rows:
    """Returns the indices of the rows to split, without the test part and rows left out for equalling a test row."""
    count = table.rows - table.test_rows
    rows = np.arange(count, dtype=np.int64)
    if table.equal_rows is None or not table.test_rows or table.choices.equal_rows != "together":
        return rows
    code = table.equal_rows.code
    rows = rows[~np.isin(code[:count], code[count:])]
    if not len(rows):
        raise DataError(
            "every row to train with has the features of a test row, and would be left out (--equal-rows together): "
            "name another test file (--test)."
        )
    return rows


def _some_rows(table: TrainingTable, rows: Rows) -> TrainingTable:
    """Returns the table with only some rows in the columns that a split needs; the features keep all rows."""
    equal = table.equal_rows
    return replace(
        table,
        target=table.target[rows],
        group=None if table.group is None else table.group[rows],
        time=None if table.time is None else table.time[rows],
        equal_rows=None if equal is None else equal.of(rows),
        test_rows=0,
    )


def rare_class(label: str, called: str, rows: int, *, parts: int) -> str:
    """Returns the message on a class with fewer rows than parts; `called` is the target's name in messages."""
    count = "1 row" if rows == 1 else f"{rows} rows"
    return (
        f"class {label!r} of {called} has {count}, and needs {parts}: one each to {_USES[parts]}. "
        "Merge it with another class, or leave its rows out (--drop-rare-classes)."
    )


def _by_chance(table: TrainingTable, rows: Rows, shares: NDArray[np.float64], rng: np.random.Generator) -> list[Rows]:
    """Splits rows at random into as many parts as shares, each class in the same shares."""
    uses = _USES[len(shares)]
    if table.labels:
        strata = [np.flatnonzero(table.target[rows] == i) for i in range(len(table.labels))]
        for label, stratum in zip(table.labels, strata, strict=True):
            if len(stratum) < len(shares):
                raise DataError(rare_class(label, f"target {table.target_name!r}", len(stratum), parts=len(shares)))
    else:
        strata = [rows]
        if len(rows) < MIN_REGRESSION_ROWS:
            raise DataError(f"{len(rows)} rows are too few to {uses}: {MIN_REGRESSION_ROWS} are needed.")
    if table.equal_rows is not None and table.equal_rows.are_kept_together(table.choices):
        return _with_copies_together(table, table.equal_rows.code[rows], shares, rng)
    parts: list[list[Rows]] = [[] for _ in shares]
    carried = np.zeros(len(shares) - 1)  # rounding errors of the later parts, carried over so that the totals are right
    for stratum in strata:
        carried += shares[1:] * len(stratum)
        counts = [int(count) for count in np.clip(np.rint(carried), 1, None)]
        while sum(counts) >= len(stratum):
            largest = len(counts) - 1 - int(np.argmax(counts[::-1]))  # the last of several equal counts
            counts[largest] -= 1
        carried -= counts
        for part, rows_of_stratum in zip(parts, _cut(rng.permutation(stratum), counts), strict=True):
            part.append(rows_of_stratum)
    return [np.concatenate(part) for part in parts]


def _with_copies_together(
    table: TrainingTable, code: NDArray[np.int64], shares: NDArray[np.float64], rng: np.random.Generator
) -> list[Rows]:
    """Splits whole groups of equal rows into as many parts as shares, each class in about the same shares.

    Groups of one class and one size are divided as single rows are, large groups first, so that smaller ones make up
    for rounding errors. A group with several classes counts as the class of its first row.
    """
    if code.max(initial=-1) + 1 < len(shares) or len(np.unique(code)) < len(shares):
        raise DataError(
            f"there are {len(np.unique(code))} different rows, and a split that keeps equal rows together needs "
            f"{len(shares)}: one for each part (--equal-rows scatter divides them by chance)."
        )
    parts: list[list[Rows]] = [[] for _ in shares]
    carried = np.zeros(len(shares) - 1)  # rows
    trained: set[int] = set()  # classes in the training part so far
    for label, units in _groups_of_a_kind(table, code):
        count, size = units.shape
        carried += shares[1:] * count * size
        is_first = label not in trained
        least = 1 if is_first and count >= len(shares) else 0
        counts = [int(wanted) for wanted in np.clip(np.rint(carried / size), least, None)]
        while sum(counts) > count - is_first:
            largest = len(counts) - 1 - int(np.argmax(counts[::-1]))
            counts[largest] -= 1
        carried -= np.array(counts) * size
        trained.add(label)
        for part, chosen in zip(parts, _cut(rng.permutation(units), counts), strict=True):
            part.append(chosen.ravel())
    return _with_every_class([np.concatenate(part) for part in parts], table, code)


def _groups_of_a_kind(table: TrainingTable, code: NDArray[np.int64]) -> Iterator[tuple[int, Rows]]:
    """Yields the groups of equal rows of each class (of the first row) and size: `(groups, size)` row indices."""
    order = np.argsort(code, kind="stable")
    _, first, sizes = np.unique(code[order], return_index=True, return_counts=True)
    classes = table.target[order[first]] if table.labels else np.zeros(len(first), dtype=np.int64)
    kinds = np.lexsort((-sizes, classes))
    ends = np.flatnonzero(np.diff(classes[kinds]) | np.diff(sizes[kinds])) + 1
    for groups in np.split(kinds, ends):
        size = int(sizes[groups[0]])
        yield int(classes[groups[0]]), order[first[groups][:, None] + np.arange(size)]


def _with_every_class(parts: list[Rows], table: TrainingTable, code: NDArray[np.int64]) -> list[Rows]:
    """Moves a group to the training part for each class missing there, and a group to each empty part."""
    train, *others = parts
    for label in np.setdiff1d(np.arange(len(table.labels)), table.target[train]):
        for i, part in enumerate(others):
            of_class = part[table.target[part] == label]
            if len(of_class):
                is_moved = code[part] == code[of_class[0]]
                train, others[i] = np.concatenate((train, part[is_moved])), part[~is_moved]
                break
    for i, part in enumerate(others):
        if not len(part):  # large groups went to other parts: this part gets the smallest group of the training part
            counts = np.bincount(code[train])
            smallest = int(np.where(counts > 0, counts, len(code) + 1).argmin())
            is_moved = code[train] == smallest
            train, others[i] = train[~is_moved], train[is_moved]
    return [train, *others]


def _cut(units: NDArray[np.int64], counts: list[int]) -> list[NDArray[np.int64]]:
    """Cuts units into parts: the last `counts` units each, and the rest as the first part."""
    return np.split(units, len(units) - np.cumsum(counts[::-1])[::-1])


def _by_group(
    table: TrainingTable, group: NDArray[np.int32], shares: NDArray[np.float64], rng: np.random.Generator
) -> list[Rows]:
    """Splits whole groups into as many parts as shares.

    Groups are assigned the largest first, and groups of equal size in random order. Each goes to the part that lacks
    most of the group's classes, or rows. Small groups thus correct the differences that large groups left.
    """
    names = np.unique(group)
    if len(names) < len(shares):
        raise DataError(
            f"column {table.choices.group!r} has {len(names)} group{'s' if len(names) > 1 else ''}, and a split needs "
            f"{len(shares)}: one for each part."
        )
    classes = table.target[: len(group)] if table.labels else np.zeros(len(group), dtype=np.int64)
    part_of_row = assigned_groups(group, classes, width=max(len(table.labels), 1), shares=shares, rng=rng)
    return [np.flatnonzero(part_of_row == part) for part in range(len(shares))]


def assigned_groups(
    group: NDArray[np.int32],
    classes: NDArray[np.int64],
    *,
    width: int,
    shares: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Assigns whole groups to as many parts as shares, as `_by_group` describes; returns the part of each row.

    Args:
        group: `(rows,)` group of each row.
        classes: `(rows,)` class of each row; 0 for a regression.
        width: number of classes; 1 for a regression.
        shares: shares of the parts, of which there are no more than groups.
        rng: source of the random order.
    """
    names, member = np.unique(group, return_inverse=True)
    counts = np.bincount(member * width + classes, minlength=len(names) * width).reshape(len(names), width)
    sizes = counts.sum(axis=1)
    total = np.maximum(counts.sum(axis=0), 1)
    missing_share = np.outer(shares, np.ones(width))  # (parts, classes): share of each class that a part still lacks
    chosen = np.empty(len(names), dtype=np.int64)
    shuffled = rng.permutation(len(names))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    empty = list(range(len(shares)))
    for left, at in zip(range(len(order), 0, -1), order, strict=True):
        wanted = missing_share @ (counts[at] / len(group))
        candidate_parts = empty if left <= len(empty) else range(len(shares))  # each part must get at least one group
        part = max(candidate_parts, key=lambda part: wanted[part])
        if part in empty:
            empty.remove(part)
        missing_share[part] -= counts[at] / total
        chosen[at] = part
    return chosen[member]


def _by_time(time: NDArray[Any], shares: NDArray[np.float64]) -> list[Rows]:
    """Splits rows into as many parts as shares, the oldest rows first; rows of one time are in one part."""
    moments = np.unique(time)
    if len(moments) < len(shares):
        raise DataError(
            f"the rows have {len(moments)} different time{'s' if len(moments) > 1 else ''}, and a split by time needs "
            f"{len(shares)}: one for each part."
        )
    part_of_row = time_cuts(time, shares)
    return [np.flatnonzero(part_of_row == part) for part in range(len(shares))]


def time_cuts(time: NDArray[Any], shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the part of each row in a split by time, the oldest rows first; rows of one time are in one part.

    Args:
        time: `(rows,)` times, at least as many different ones as shares.
        shares: shares of the parts.
    """
    moments, member, counts = np.unique(time, return_inverse=True, return_counts=True)
    until = np.cumsum(counts)  # number of rows up to each time
    cuts: list[int] = []  # number of different times before each boundary
    for i, wanted in enumerate(np.cumsum(shares)[:-1] * len(time)):
        first = cuts[-1] + 1 if cuts else 1
        last = len(moments) - (len(shares) - 1 - i)
        candidates = np.arange(first, last + 1)
        cuts.append(int(candidates[np.argmin(np.abs(until[candidates - 1] - wanted))]))
    return np.searchsorted(cuts, member, side="right")


def _check_classes(table: TrainingTable, train: Rows, by: SplitBy) -> None:
    present = set(table.target[train]) if table.labels else set()
    lacking = [label for i, label in enumerate(table.labels) if i not in present]
    if lacking:
        shown = ", ".join(repr(label) for label in lacking[:_LISTED]) + (", …" if len(lacking) > _LISTED else "")
        whence = "oldest rows" if by == "time" else "groups"
        raise DataError(
            f"the {whence} that a split by {by} gives to train with have no row of class {shown} of target "
            f"{table.target_name!r}: it cannot be learned so."
        )
