"""Keys of labels that are numbers: matched with logged numbers, which have the precision of the network's input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.columns.column import FLOAT32_LIMIT, NumericColumn
from models.errors import DataError
from training.data.number_texts import Marks, numbers_in

_MOST_DECIMALS = 20
_DIGITS = 80  # of the largest float32, with these decimals


class NumberKeys:
    """The keys of labels for a column of numbers.

    The log holds a number less the column's origin as a float32, so several numbers may have one logged form. A logged
    row of such a form is refused: its label could be that of another row.

    Args:
        column: logged column.
        texts: keys of the labels, as texts. Texts that are no number belong to no row.
        path: path of the file of labels, for messages.
        marks: decimal and thousands marks of the keys.
    """

    def __init__(self, column: NumericColumn, texts: Sequence[str], path: Path, *, marks: Marks) -> None:
        self._column = column
        self._path = path
        written = _with_dots(texts, marks)
        numbers = {text: number for text, dots in written.items() if (number := _number(dots)) is not None}
        logged = self._logged(numbers.values())
        step = _step(list(numbers.values()), logged)
        with localcontext(prec=_DIGITS):
            neighbours = [[number + way * step for number in numbers.values()] for way in (-1, 1)]
        self._texts: dict[float, list[str]] = {}
        self._doubtful: dict[float, tuple[str, str]] = {}
        for text, place in zip(numbers, logged, strict=True):
            same = self._texts.setdefault(place, [])
            if same and numbers[same[0]] != numbers[text]:
                self._doubtful[place] = same[0], text
            same.append(text)
        for near in neighbours:
            for text, place, other, number in zip(numbers, logged, self._logged(near), near, strict=True):
                if other == place:
                    self._doubtful.setdefault(place, (text, f"{number:f}"))

    def of(self, cells: NDArray[np.floating]) -> list[list[str]]:
        """Returns the keys of each logged cell: none, one, or several spellings of the same number.

        Args:
            cells: `(rows,)` logged numbers, NaN for a gap.

        Raises:
            DataError: a logged cell may come from a key or from another number.
        """
        found = []
        for cell in cells.tolist():
            if cell in self._doubtful:
                one, other = self._doubtful[cell]
                raise DataError(
                    f"{self._path}: column {self._column.name!r} is logged as 32-bit floating point, which cannot tell "
                    f"{one} from {other}, so that labels would go to rows of others. Join by the request id: give the "
                    "labels a column 'request_id', and leave out --on."
                )
            found.append(self._texts.get(cell, []))
        return found

    def _logged(self, numbers: Iterable[Decimal]) -> list[float]:
        """Returns the logged forms of numbers; NaN for a number that the encoder refuses."""
        origin = self._column.origin
        with np.errstate(over="ignore"):
            shifted = np.array([float(number) for number in numbers], dtype=np.float64) - origin
            shifted[~(np.abs(shifted) < FLOAT32_LIMIT)] = np.nan
            forms: list[float] = (shifted.astype(np.float32).astype(np.float64) + origin).tolist()
        return forms


def _with_dots(texts: Sequence[str], marks: Marks) -> dict[str, str]:
    """Returns each text that is a number with these marks, with a decimal dot and no other mark."""
    is_number = numbers_in(pa.array(texts, pa.string()), marks)[1].tolist()
    return {
        text: (text.replace(marks.thousands, "") if marks.thousands else text).replace(marks.decimal, ".")
        for text, is_one in zip(texts, is_number, strict=True)
        if is_one
    }


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _step(numbers: list[Decimal], logged: list[float]) -> Decimal:
    """Returns the distance of neighbouring keys: the place of the last decimal that some key has.

    A file whose keys all are equal to their logged form, such as a column of float32, has been rounded before. Then
    only its whole numbers, such as ids, have neighbours.
    """
    if all(number == Decimal(repr(form)) for number, form in zip(numbers, logged, strict=True)):
        return Decimal(1)
    decimals = max(-int(number.normalize().as_tuple().exponent) for number in numbers)
    return Decimal(1).scaleb(-min(max(decimals, 0), _MOST_DECIMALS))
