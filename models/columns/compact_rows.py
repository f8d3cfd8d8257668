"""A compact form of encoded rows for waiting requests: a one-hot column takes one number per row.

A category of three letters may become hundreds of features, so a request of a few megabytes would take gigabytes while
it waits for a network.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, Column
from models.columns.schema import Schema

Float32Array = NDArray[np.float32]


class CompactRows:
    """The compact form of a schema's rows.

    Args:
        schema: schema of the rows.

    Attributes:
        columns: columns of the compact form: a one-hot column becomes an index, the others are unchanged.
        width: number of features of a compact row.
        row_width: number of features of a full row.
    """

    def __init__(self, schema: Schema) -> None:
        columns: list[Column] = []
        self._one_hots: list[tuple[int, int]] = []  # place in a compact row, first feature in a row
        places: list[int] = []  # places in a full row of the features that both forms have; below, in a compact row
        compact_places: list[int] = []
        at = compact_at = 0
        for column in schema.columns:
            if isinstance(column, CategoricalColumn) and column.encoding == "one_hot":
                columns.append(replace(column, encoding="index"))
                self._one_hots.append((compact_at, at))
            else:
                columns.append(column)
                places += range(at, at + column.width)
                compact_places += range(compact_at, compact_at + column.width)
            at += column.width
            compact_at += columns[-1].width
        self.columns = tuple(columns)
        self.width = compact_at
        self.row_width = at
        self._places, self._compact_places = np.array(places, dtype=np.intp), np.array(compact_places, dtype=np.intp)

    def expand(self, compact: Float32Array) -> Float32Array:
        """Expands `(rows, width)` compact rows to `(rows, row_width)` rows."""
        if not self._one_hots:
            return compact
        rows = np.zeros((len(compact), self.row_width), dtype="<f4")
        rows[:, self._places] = compact[:, self._compact_places]
        for place, first in self._one_hots:
            codes = compact[:, place].astype(np.intp)  # 0 means no category
            known = np.flatnonzero(codes)
            rows[known, first + codes[known] - 1] = 1.0
        return rows
