"""Missing texts: texts that people write for a missing number, and values that a user declares missing.

`models.columns.cell_text.MISSING_TEXTS` are missing in every column. The texts here are missing only in a column whose
other cells are numbers or dates: `None` or `-` may well be a category.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.columns.cell_text import tidy
from models.errors import DataError

# Up to this many different texts count as gaps, unless the user says the kind of the column.
MAX_MISSING_TEXTS = 3

_WORDS = (
    "na n/a n.a. n.a n/a. #n/a <na> #na (na) nan -nan null <null> (null) [null] none <none> (none) nil \\n missing "
    "<missing> (missing) unknown <unknown> (unknown) unk n/k n.k. nk n/d n.d. nd no.data nodata n/r nr undefined undef "
    "void empty (empty) blank (blank) tbd tba k.a. s/d s.d. #div/0! #value! #ref! #name? #num! #null! #error! 1.#ind "
    "1.#qnan -1.#ind -1.#qnan nat not-available not_available not-applicable"
)
_TWO_READINGS = re.compile(r"^(-?[1-9]\d{0,2}\.\d{3})(?!\d)")
_FILL = re.compile(r"-9{1,8}(\.0+)?|9{3,8}(\.0+)?")
_KNOWN = frozenset(_WORDS.split()) | frozenset(
    (
        "0000-00-00",  # MySQL's zero date
        "0000-00-00 00:00:00",
        "not available",
        "not applicable",
        "no data",
        "not known",
        "not measured",
        "not recorded",
        "not reported",
        "not stated",
        "no answer",
        "no value",
        "don't know",
        "keine angabe",
        "k. a.",
        "sin dato",
        "sin datos",
        "non disponible",
    )
)


def stands_for_missing(text: str) -> bool:
    """Returns True if a text among numbers means missing: a known text, or one without letters and digits."""
    text = text.strip().casefold()
    return text in _KNOWN or not any(character.isalnum() for character in text)


def is_fill_text(text: str) -> bool:
    """Returns True if a text is a number that tables use for a missing value, such as -999."""
    return _FILL.fullmatch(text) is not None


def are_gaps(words: Sequence[str], *, forced: bool) -> bool:
    """Returns True if all texts of a column that are not of its kind stand for missing.

    Args:
        words: texts that are not of the column's kind.
        forced: True if the user says the kind of the column: then there may be any number of such texts.
    """
    if not forced and len({word.casefold() for word in words[: 10 * MAX_MISSING_TEXTS]}) > MAX_MISSING_TEXTS:
        return False
    return all(map(stands_for_missing, words))


@dataclass(frozen=True, kw_only=True)
class MissingValues:
    """The values that a user declares missing.

    Attributes:
        everywhere: texts of values that are missing in every column.
        by_column: texts of values by column, missing in that column only.
    """

    everywhere: tuple[str, ...] = ()
    by_column: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, column: str) -> tuple[str, ...]:
        """Returns the values that the user declares missing in a column."""
        return (*self.everywhere, *self.by_column.get(column, ()))

    def __bool__(self) -> bool:
        """Returns True if any value is declared missing."""
        return bool(self.everywhere or self.by_column)


def missing_values(given: object, columns: Iterable[str]) -> MissingValues:
    """Reads the values that a user declares missing.

    Args:
        given: one value, or a sequence of values, each a text, a number, or a text `COLUMN=VALUE`; or a mapping of
            columns to values.
        columns: names of the table's columns.

    Raises:
        DataError: `given` is something else, or names a column that the table does not have.
    """
    known = set(columns)
    if isinstance(given, Mapping):
        for name in given:
            if tidy(str(name)) not in known:
                raise DataError(f"missing_values names a column {name!r} that is not in the table.")
        return MissingValues(by_column={tidy(str(name)): tuple(map(_text, _listed(of))) for name, of in given.items()})
    everywhere: list[str] = []
    by_column: dict[str, tuple[str, ...]] = {}
    for value in map(_text, _listed(given)):
        parts = value.split("=")
        # The longest name that fits, because a column may be called `a=b`.
        for i in range(len(parts) - 1, 0, -1):
            if (name := tidy("=".join(parts[:i]))) in known:
                by_column[name] = (*by_column.get(name, ()), "=".join(parts[i:]).strip())
                break
        else:
            everywhere.append(value)
    return MissingValues(everywhere=tuple(everywhere), by_column=by_column)


def _listed(given: object) -> tuple[Any, ...]:
    if given is None:
        return ()
    if isinstance(given, str | int | float):
        return (given,)
    if isinstance(given, list | tuple | set | frozenset):
        return tuple(given)
    raise DataError(f"missing_values must be texts and numbers, or these by column, got {given!r:.100}.")


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"a missing value must be a text or a number, got {value!r:.100}.")
    return tidy(value) if isinstance(value, str) else plainly_written(value)


def plainly_written(value: float) -> str:
    """Returns a number as a text that has one reading, whatever the marks of a file: 9.999 is `9.9990`."""
    return _TWO_READINGS.sub(r"\g<1>0", str(value).removesuffix(".0"))
