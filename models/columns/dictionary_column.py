"""A column of names, each kept once: a whole number a row says which.

Millions of rows with a few hundred names take four bytes a row so, and what is asked of a name is asked once a name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import DataError

MISSING = -1  # the code of a row without a name


@dataclass(frozen=True, eq=False, slots=True)
class DictionaryColumn:
    """A column of names as codes.

    Attributes:
        codes: `(rows,)` int32: the place of each row's name in `names`, -1 where it is missing. Not to be written to.
        names: the distinct names; some may occur in no row.

    Raises:
        DataError: a name twice, or a code without a name.
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        names = tuple(self.names)
        if not all(isinstance(name, str) for name in names) or len(set(names)) != len(names):
            raise DataError(f"the {len(names)} names of a column must be strings, each given once.")
        given = np.asarray(self.codes)
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise DataError(f"codes must be whole numbers, one a row, got {given.dtype} of shape {given.shape}.")
        if len(given) and not (given.min() >= MISSING and given.max() < len(names)):
            raise DataError(f"codes must be {MISSING} to {len(names) - 1}, got {given.min()} to {given.max()}.")
        codes = given.astype(np.int32, copy=False).view()
        codes.flags.writeable = False
        object.__setattr__(self, "codes", codes)
        object.__setattr__(self, "names", names)

    @classmethod
    def from_strings(cls, cells: Sequence[str | None]) -> DictionaryColumn:
        """A column out of its cells, None for missing; the names are in the order of their first row.

        Raises:
            DataError: a cell that is neither a string nor None.
        """
        places: dict[str, int] = {}
        codes = np.empty(len(cells), dtype=np.int32)
        for row, cell in enumerate(cells):
            if cell is None:
                codes[row] = MISSING
            elif isinstance(cell, str):
                codes[row] = places.setdefault(cell, len(places))
            else:
                raise DataError(f"row {row} holds {type(cell).__name__} where a name is expected.")
        return cls(codes, tuple(places))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str | None:
        """The name in one row, None where it is missing."""
        code = self.codes[row]
        return None if code == MISSING else self.names[code]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> DictionaryColumn:
        """The column at some rows, by their indices or a mask `(rows,)`; it keeps all names."""
        return DictionaryColumn(self.codes[rows], self.names)

    def missing(self) -> NDArray[np.bool_]:
        """`(rows,)` whether there is no name."""
        return np.equal(self.codes, MISSING)

    def counts(self) -> NDArray[np.int64]:
        """`(names,)` in how many rows each name occurs."""
        return np.bincount(self.codes[self.codes != MISSING], minlength=len(self.names))

    def distinct(self) -> tuple[str, ...]:
        """The names that occur in some row, in the order of `names`."""
        return tuple(self.names[code] for code in np.flatnonzero(self.counts()))

    def to_strings(self) -> NDArray[np.object_]:
        """`(rows,)` the names themselves, None for missing."""
        return np.array([*self.names, None], dtype=np.object_)[self.codes]  # code -1 is the last: None
