"""The names of the columns to predict: one, or several of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from models.columns.cell_text import tidy
from models.columns.schema import MAX_TARGETS
from models.errors import DataError
from training.data.table import Table


def target_names(table: Table, target: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of the target columns, in the order of the outputs of the network.

    Args:
        table: table as read from its source.
        target: name of a column, several names with commas between them, or a sequence of names. A text that is the
            name of a column is one target, whatever commas it has.

    Raises:
        DataError: a name is no text, not that of a column or occurs twice, or there are too many.
    """
    if isinstance(target, str):
        whole = tidy(target)
        names = [tidy(part) for part in whole.split(",")]
        if whole in table.columns or not any(name in table.columns for name in names):
            return (whole,)
        if "" in names:
            raise DataError(f"target {whole!r} has an empty name between its commas.")
    else:
        names = [tidy(name) for name in _texts(target)]
    if not names:
        raise DataError("target has no name: name at least one column (--target).")
    for name in names:
        table.column(name)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"target {twice[0]!r} is named twice: name each column once.")
    if len(names) > MAX_TARGETS:
        raise DataError(f"there are {len(names):,} targets, and a model has at most {MAX_TARGETS:,}.")
    return tuple(names)


def _texts(names: Iterable[object]) -> list[str]:
    """Returns the names as texts, or refuses what is none."""
    if isinstance(names, set | frozenset):
        raise DataError("the order of the targets is that of the answers, and a set has none: give a list of names.")
    given = list(names) if isinstance(names, Iterable) else [names]
    texts = [name for name in given if isinstance(name, str)]
    if len(texts) < len(given):
        wrong = next(name for name in given if not isinstance(name, str))
        raise DataError(f"a target is named by the text of its column, got {wrong!r}: write {str(wrong)!r}.")
    return texts
