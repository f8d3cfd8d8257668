"""A dictionary-encoded column: each distinct name is stored once, and each row has the code of its name.

Millions of rows with a few hundred names take four bytes per row, and work on names is done once per distinct name.
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
    """A dictionary-encoded column of names.

    Attributes:
        codes: `(rows,)` int32 index of each row's name in `names`, -1 for a missing name. Read-only.
        names: distinct names; a name may occur in no row.

    Raises:
        DataError: A name occurs twice in `names`, or a code has no name.
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
        """Encodes cells, None for missing; the names get the order of their first rows.

        Raises:
            DataError: A cell is neither a string nor None.
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
        """Returns the name in one row, None if the name is missing."""
        code = self.codes[row]
        return None if code == MISSING else self.names[code]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> DictionaryColumn:
        """Selects rows by indices or by a mask `(rows,)`; all names stay in `names`."""
        return DictionaryColumn(self.codes[rows], self.names)

    def missing(self) -> NDArray[np.bool_]:
        """Returns a mask of the rows without a name, `(rows,)`."""
        return np.equal(self.codes, MISSING)

    def counts(self) -> NDArray[np.int64]:
        """Counts the rows of each name, `(names,)`."""
        return np.bincount(self.codes[self.codes != MISSING], minlength=len(self.names))

    def distinct(self) -> tuple[str, ...]:
        """Returns the names that occur in at least one row, in the order of `names`."""
        return tuple(self.names[code] for code in np.flatnonzero(self.counts()))

    def to_strings(self) -> NDArray[np.object_]:
        """Decodes the column to names, `(rows,)`, None for missing."""
        return np.array([*self.names, None], dtype=np.object_)[self.codes]  # code -1 selects the last: None
