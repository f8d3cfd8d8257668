"""Dictionary-encoded cells of a request: each distinct cell is encoded once, and a row has the place of its cell.

`models.columns.dictionary_column` does the same for whole tables of training. Here the distinct cells are of any type,
may be equal, may be wrong if no row has them, and are looked at only when a row has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import Refused
from models.errors import DataError

ListedCells = NDArray[Any] | Sequence[Any]
# Function of the cells and `(cells, width)` zeros, which are filled, to the number of unknown cells.
CellsWriter = Callable[[ListedCells, NDArray[np.float32]], int]

_MISSING = -1
_NEW, _KNOWN, _UNKNOWN, _REFUSED = range(4)  # what is known of a distinct cell


class DistinctCells(Protocol):
    """The distinct cells of a dictionary."""

    def __len__(self) -> int:
        """Returns the number of distinct cells."""

    def take(self, places: NDArray[np.intp], /) -> ListedCells:
        """Returns some of the cells."""


class CellDictionary:
    """A dictionary with the encoded form of those cells that rows have had so far.

    Args:
        distinct: distinct cells.

    Attributes:
        distinct: distinct cells.
    """

    __slots__ = ("_encoded", "_states", "distinct")

    def __init__(self, distinct: DistinctCells) -> None:
        self.distinct = distinct
        self._encoded: NDArray[np.float32] | None = None
        self._states = np.zeros(len(distinct) + 1, dtype=np.int8)  # the last is that of a missing cell

    def listed(self, codes: NDArray[np.intp], spell: Callable[[ListedCells], Sequence[Any]]) -> list[Any]:
        """Returns the cells of rows as from a JSON parser.

        Args:
            codes: `(rows,)` place of each row's cell, -1 for a missing one.
            spell: function that turns distinct cells into those of a JSON parser.
        """
        cells: list[Any] = [None] * len(codes)
        there = np.flatnonzero(codes != _MISSING)
        for row, cell in zip(there.tolist(), spell(self.distinct.take(codes[there])), strict=True):
            cells[row] = cell
        return cells

    def write(self, codes: NDArray[np.intp], block: NDArray[np.float32], write: CellsWriter) -> int:
        """Writes the cells of rows.

        Args:
            codes: `(rows,)` place of each row's cell, -1 for a missing one.
            block: `(rows, width)` zeros to write to.
            write: function that writes cells of the column.

        Returns:
            The number of unknown cells.

        Raises:
            Refused: the column refuses a cell of these rows.
        """
        if self._encoded is None:
            self._encoded = np.zeros((len(self._states), block.shape[1]), dtype=np.float32)
        states = self._states[codes]  # the code -1 selects the last
        if not states.all():
            self._encode(np.unique(codes[states == _NEW]), self._encoded, write)
            states = self._states[codes]
        if (states == _REFUSED).any():
            raise Refused
        block[:] = self._encoded[codes]
        return int(np.count_nonzero(states == _UNKNOWN))

    def _encode(self, places: NDArray[np.intp], encoded: NDArray[np.float32], write: CellsWriter) -> None:
        """Encodes cells that no row has had before."""
        has_missing = len(places) and places[0] == _MISSING
        if has_missing:
            self._encode_alone(_MISSING, None, encoded, write)
            places = places[1:]
        if not len(places):
            return
        cells = self.distinct.take(places)
        block = np.zeros((len(places), encoded.shape[1]), dtype=np.float32)
        try:
            unknown = write(cells, block)
            encoded[places] = block
            self._states[places] = _KNOWN
            in_doubt = places[:0]
            if unknown:  # an unknown cell has zeros only; so has a missing one
                in_doubt = np.flatnonzero(~block.any(axis=1))
                if len(in_doubt) == unknown:
                    self._states[places[in_doubt]] = _UNKNOWN
                    return
        except (Refused, DataError):
            in_doubt = np.arange(len(places))
        for i in in_doubt.tolist():
            self._encode_alone(int(places[i]), cells[i : i + 1], encoded, write)

    def _encode_alone(
        self, place: int, cell: ListedCells | None, encoded: NDArray[np.float32], write: CellsWriter
    ) -> None:
        """Encodes one cell, to learn whether the cell is unknown or refused."""
        try:
            unknown = write([None] if cell is None else cell, encoded[place][np.newaxis])
            self._states[place] = _UNKNOWN if unknown else _KNOWN
        except (Refused, DataError):
            self._states[place] = _REFUSED


class DictionaryCells:
    """Cells of a column as places in a dictionary.

    Args:
        codes: `(rows,)` place of each row's cell, -1 for a missing one.
        dictionary: dictionary of the cells.

    Attributes:
        codes: place of each row's cell in the dictionary, -1 for a missing one.
        dictionary: dictionary of the cells.
    """

    __slots__ = ("codes", "dictionary")

    def __init__(self, codes: NDArray[np.intp], dictionary: CellDictionary) -> None:
        self.codes = codes
        self.dictionary = dictionary

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice) -> DictionaryCells:
        """Returns the cells of some rows, with the same dictionary."""
        return DictionaryCells(self.codes[rows], self.dictionary)

    def listed(self, spell: Callable[[ListedCells], Sequence[Any]]) -> list[Any]:
        """Returns the cells as from a JSON parser, by a function that does so for distinct cells."""
        return self.dictionary.listed(self.codes, spell)
