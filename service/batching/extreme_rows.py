"""Answers that are not finite: an error of the client if the row has extreme numbers, else a fault of the model.

If a row has numbers outside the range that training saw, the client has to change the row. If the model overflows on a
row within that range, the model is broken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import MAX_FAULTS
from models.columns.extreme_rows import extreme_cells
from models.columns.schema import Schema
from models.errors import AxonError, RowError
from service.errors import ModelFault


def not_finite_rows(answers: NDArray[np.float32], start: int) -> list[int]:
    """Returns the positions in a request of the first rows whose answers are not finite.

    Args:
        answers: answers to some rows of the request, `(rows, width)`.
        start: position of the first of these rows.
    """
    bad: list[int] = (start + np.flatnonzero(~np.isfinite(answers).all(axis=1))).tolist()
    return bad[:MAX_FAULTS]


def error_of(schema: Schema, features: NDArray[np.float32], rows: Sequence[int]) -> AxonError:
    """Returns the error of a request with answers that are not finite.

    Args:
        schema: columns of the model.
        features: encoded rows whose answers are not finite, at least one, `(bad rows, schema.width)`.
        rows: positions of these rows in the request.

    Returns:
        `RowError` that names these rows and their columns outside the range; `ModelFault` if there is no such column.
    """
    faults = [
        fault for row, cells in zip(rows, features, strict=True) for fault in extreme_cells(schema.columns, cells, row)
    ]
    if faults:
        return RowError(faults[:MAX_FAULTS])
    return ModelFault(f"the model's answer to row {rows[0]} is not finite.")
