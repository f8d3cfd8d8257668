"""The rows that a caller gives, in any type: lists, mappings, arrays, data frames and Arrow tables, cut into slices.

Neither pandas nor pyarrow nor polars is imported: a frame is recognised by its methods, as in
`models.columns.frame_rows`, which also converts the cells.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.frame_rows import has_typed_numbers, is_arrow, is_pandas, rows_of
from models.columns.row_names import RowNames
from models.errors import DataError

_NUMBERS = frozenset("iuf")  # kinds of NumPy's types: whole numbers and floats
_ARROW_NUMBERS = frozenset(
    ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "halffloat", "float", "double")
)


class GivenRows:
    """Rows as lists, or as mappings by column name.

    Args:
        rows: list of rows.

    Attributes:
        index: index of a data frame of pandas, for the answer; None for other rows.
    """

    index: Any = None

    def __init__(self, rows: Any) -> None:
        self._rows = rows

    @property
    def needs_columns(self) -> bool:
        """True if the model's columns decide which cells are sent, or the spelling of the cells."""
        return has_typed_numbers(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def cells(
        self,
        start: int,
        stop: int,
        names: Sequence[str] | None,
        categorical: Collection[str] = (),
        numeric: Collection[str] = (),
    ) -> list[Any]:
        """Returns rows with the cells of a JSON request.

        Args:
            start: first row.
            stop: row after the last one.
            names: names of the model's columns; None if they are not known.
            categorical: names of the model's columns of categories, as far as they are known.
            numeric: names of the model's columns of numbers, as far as they are known.

        Raises:
            DataError: a column of the model is missing.
        """
        return list(rows_of(self._rows[start:stop], names or (), categorical=categorical, numeric=numeric))

    def matrix(self, start: int, stop: int, names: Sequence[str] | None) -> NDArray[Any] | None:
        """Returns rows as `(rows, columns)` integers or floats, NaN for missing; None if not all cells are numbers.

        Args:
            start: first row.
            stop: row after the last one.
            names: names of the model's columns; None if they are not known.
        """
        return None


class GivenArray(GivenRows):
    """A two-dimensional NumPy array, `(rows, columns)`.

    Args:
        array: cells in the order of the model's columns.

    Raises:
        DataError: the array has another number of dimensions.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        if array.ndim != 2:
            raise DataError(f"an array of shape {array.shape} is no table: give one of shape (rows, columns).")
        super().__init__(array)

    def matrix(self, start: int, stop: int, names: Sequence[str] | None) -> NDArray[Any] | None:
        """Returns rows as numbers; None for an array of another type."""
        some: NDArray[Any] = self._rows[start:stop]
        return some if some.dtype.kind in _NUMBERS else None


class GivenFrame(GivenRows):
    """A data frame of pandas or polars, an Arrow table, or one row of a data frame of pandas.

    Args:
        frame: frame, whose other columns than those of the model are ignored.
    """

    def __init__(self, frame: Any) -> None:
        super().__init__(frame)
        self._is_row = is_pandas(frame) and frame.ndim == 1
        if self._is_row:
            self._present = [str(name) for name in frame.index]
        else:
            self._present = [str(name) for name in (frame.column_names if is_arrow(frame) else frame.columns)]
            self.index = getattr(frame, "index", None)

    @property
    def needs_columns(self) -> bool:
        """True."""
        return True

    def __len__(self) -> int:
        return 1 if self._is_row else len(self._rows)

    def cells(
        self,
        start: int,
        stop: int,
        names: Sequence[str] | None,
        categorical: Collection[str] = (),
        numeric: Collection[str] = (),
    ) -> list[Any]:
        """Returns rows in the order of the model's columns; mappings with all columns if the names are not known."""
        some = self._slice(start, stop)
        if names is not None:
            return list(rows_of(some, names, categorical=categorical, numeric=numeric))
        return [dict(zip(self._present, row, strict=True)) for row in rows_of(some, self._present)]

    def matrix(self, start: int, stop: int, names: Sequence[str] | None) -> NDArray[Any] | None:
        """Returns rows as numbers, in the order of the model's columns."""
        if self._is_row or names is None:
            return None
        known, places = RowNames(names), dict[str, int]()
        for place, column in enumerate(self._present):
            if (name := known.find(column)) is not None and places.setdefault(name, place) != place:
                return None  # twice; `cells` says so
        if len(places) < len(names):
            return None
        some = self._slice(start, stop)
        columns: list[NDArray[Any]] = []
        for name in names:
            numbers = _numbers_of(some, places[name])
            if numbers is None or numbers.dtype.kind not in _NUMBERS:
                return None
            columns.append(numbers)
        return np.column_stack(columns)

    def _slice(self, start: int, stop: int) -> Any:
        frame = self._rows
        if self._is_row or (start == 0 and stop >= len(self)):
            return frame
        return frame.iloc[start:stop] if is_pandas(frame) else frame.slice(start, stop - start)


def given_rows(data: Any) -> GivenRows:
    """Returns rows of any type.

    Args:
        data: pandas or polars DataFrame, Arrow table, pandas Series (one row), two-dimensional array, mapping (one
            row), or a list of lists or mappings.

    Raises:
        DataError: `data` is none of these.
    """
    if isinstance(data, Mapping):
        return GivenRows([data])
    if isinstance(data, np.ndarray):
        return GivenArray(data)
    if is_arrow(data):
        return GivenFrame(data)
    if hasattr(data, "columns") and hasattr(data, "dtypes"):  # pandas and polars
        return GivenFrame(data)
    if hasattr(data, "index") and hasattr(data, "to_dict"):  # one row of a data frame
        return GivenFrame(data)
    if isinstance(data, str | bytes) or not isinstance(data, Sequence):
        kind = "text" if isinstance(data, str | bytes) else type(data).__name__
        raise DataError(f"a {kind} is no table: give a data frame, an Arrow table or a list of rows.")
    return GivenRows(data)


def _numbers_of(frame: Any, place: int) -> NDArray[Any] | None:
    """Returns a column of a frame as numbers, NaN for missing; None if the column has another type."""
    numbers: NDArray[Any]
    if is_arrow(frame):
        if str(frame.column(place).type) not in _ARROW_NUMBERS:
            return None
        numbers = frame.column(place).to_numpy(zero_copy_only=False)
        return numbers
    if is_pandas(frame):
        column = frame.iloc[:, place]
        if column.dtype.kind not in _NUMBERS:
            return None
        if isinstance(column.dtype, np.dtype):
            numbers = column.to_numpy()
        else:  # a type of pandas' own, with its own missing value
            numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return numbers
    column = frame.to_series(place)  # polars
    if not column.dtype.is_numeric():
        return None
    numbers = column.to_numpy()
    return numbers
