"""Rows as JSON for `POST /predict`, and the answer of `/predict`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from axon.client.errors import RowsRefused
from models.columns.cells import shown
from models.columns.labels import Label
from models.errors import Fault

_INFINITIES = (math.inf, -math.inf)


class NotAnAnswer(Exception):
    """A signal for a body that is not an answer of `/predict`."""


def write_rows(
    rows: Sequence[Any],
    model: str | None,
    names: Sequence[str] | None = None,
    members: int | None = None,
    level: float | None = None,
) -> bytes:
    """Returns the body of a request.

    Args:
        rows: rows of cells in the order of the columns, or mappings by name.
        model: reference of the model; None for the server's default.
        names: names of the columns, for messages; None if they are not known.
        members: number of members of an ensemble that answer; None for all.
        level: level of the intervals or sets; None for an answer without.

    Raises:
        RowsRefused: JSON cannot hold a cell, such as an infinity.
    """
    head = b"{" if model is None else b'{"model":%b,' % orjson.dumps(model)
    if members is not None:
        head += b'"members":%d,' % members
    if level is not None:
        head += b'"intervals":%b,' % orjson.dumps(level)
    return b'%b"instances":%b}' % (head, rows_text(rows, names))


@dataclass(frozen=True)
class JsonAnswer:
    """An answer of `/predict`.

    Attributes:
        model, version: version that answered.
        predictions: label or value of each row; list of values of each row for several targets.
        probabilities: `(rows, classes)` float32; None for a regressor.
        intervals: `(rows, 2)` float64 bounds, `(rows, targets, 2)` for several targets; None if the answer has none.
        sets: labels of each row's set; None if the answer has none.
    """

    model: str
    version: int
    predictions: list[Any]
    probabilities: NDArray[np.float32] | None
    intervals: NDArray[np.float64] | None
    sets: list[list[Label]] | None

    def has_rows(self, rows: int) -> bool:
        """Returns True if each part of the answer has this number of rows."""
        parts = (self.predictions, self.probabilities, self.intervals, self.sets)
        return all(part is None or len(part) == rows for part in parts)


def read_answer(body: bytes) -> JsonAnswer:
    """Reads an answer.

    Args:
        body: body of the answer.

    Raises:
        NotAnAnswer: the body is something else.
    """
    try:
        document = orjson.loads(body)
        probabilities = document.get("probabilities")
        matrix = None if probabilities is None else np.array(probabilities, dtype=np.float32)
        predictions = document["predictions"]
        if type(predictions) is not list or (matrix is not None and matrix.ndim != 2):
            raise NotAnAnswer("predictions or probabilities have another shape")
        intervals, sets = document.get("intervals"), document.get("sets")
        bounds = None if intervals is None else np.array(intervals, dtype=np.float64)
        if (bounds is not None and (bounds.ndim not in (2, 3) or bounds.shape[-1] != 2)) or not (
            sets is None or type(sets) is list
        ):
            raise NotAnAnswer("intervals or sets have another shape")
        return JsonAnswer(str(document["model"]), int(document["version"]), predictions, matrix, bounds, sets)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotAnAnswer(f"{type(error).__name__}: {error}") from error


def rows_text(rows: Sequence[Any], names: Sequence[str] | None) -> bytes:
    """Returns rows as a JSON list.

    Args:
        rows: rows of cells in the order of the columns, or mappings by name.
        names: names of the columns, for messages; None if they are not known.

    Raises:
        RowsRefused: JSON cannot hold a cell, such as an infinity.
    """
    # orjson writes an infinity as null, which the server would read as a missing value.
    if any(infinity in _cells(row) for row in rows for infinity in _INFINITIES):
        raise RowsRefused(
            [_fault(row, place, rows, names) for row, place in _places(rows, _is_infinite)][:_MOST_FAULTS]
        )
    try:
        return orjson.dumps(rows)
    except orjson.JSONEncodeError:
        pass  # a whole number of more than 64 bits, a lone surrogate, or a cell that is not JSON at all
    try:
        return json.dumps(rows, allow_nan=False).encode()
    except (TypeError, ValueError):
        places = _places(rows, _is_no_json)
        raise RowsRefused([_fault(row, place, rows, names) for row, place in places][:_MOST_FAULTS]) from None


_MOST_FAULTS = 20  # as many as the server lists


def _cells(row: Any) -> Sequence[Any]:
    if isinstance(row, Mapping):
        return list(row.values())
    return row if isinstance(row, list) else [row]


def _places(rows: Sequence[Any], is_wrong: Any) -> list[tuple[int, int]]:
    """Returns row and place of each cell that is wrong."""
    return [
        (number, place) for number, row in enumerate(rows) for place, cell in enumerate(_cells(row)) if is_wrong(cell)
    ]


def _fault(row: int, place: int, rows: Sequence[Any], names: Sequence[str] | None) -> Fault:
    given = rows[row]
    cell = _cells(given)[place]
    column = None
    if isinstance(given, Mapping):
        column = str(list(given)[place])
    elif names is not None and place < len(names):
        column = names[place]
    where = f"value {place + 1} of the row, " if column is None and isinstance(given, list) else ""
    if _is_infinite(cell):
        return Fault(row, column, f"{where}{shown(cell)} is not a finite number")
    return Fault(row, column, f"{where}a cell of type {type(cell).__name__} cannot be sent")


def _is_infinite(cell: Any) -> bool:
    return isinstance(cell, float) and math.isinf(cell)


def _is_no_json(cell: Any) -> bool:
    try:
        json.dumps(cell, allow_nan=False)
    except (TypeError, ValueError):
        return True
    return False
