"""The background of an explanation: the encoded rows that a row is compared with.

`typical` is the first typical row of the checkpoint: medians and most common categories, made up by training. `rows`
are rows of the training part, if the user of the training allowed them. `centre` is made of the schema alone, for a
checkpoint without either. `request` are rows that the request gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, DateColumn
from models.columns.dates import circle_points
from models.columns.encoding import RowEncoder
from models.columns.schema import Schema
from models.errors import RowError

MOST_BACKGROUND_ROWS = 100

Source = Literal["typical", "rows", "centre", "request"]

_DAY = 86_400_000_000  # microseconds


@dataclass(frozen=True)
class Background:
    """Background rows.

    Attributes:
        source: origin of the rows.
        rows: `(background rows, width)` float32 encoded rows.
    """

    source: Source
    rows: NDArray[np.float32]


def background_of(schema: Schema, encoder: RowEncoder, data: Mapping[str, Any]) -> Background:
    """Returns the background that a checkpoint carries, or else the centre of its schema.

    Args:
        schema: schema of the model.
        encoder: encoder of the schema.
        data: section `data` of the checkpoint.
    """
    unknown, encoder.unknown.counts = encoder.unknown.counts, {}
    try:
        rows = data.get("background")
        if isinstance(rows, list) and 1 <= len(rows) <= MOST_BACKGROUND_ROWS:
            return Background("rows", encoder.encode_matrix(rows))
        examples = data.get("examples")
        if data.get("examples_kind") == "typical" and isinstance(examples, list) and examples:
            return Background("typical", encoder.encode_matrix(examples[:1]))
    except RowError:  # not rows of this schema, which another program wrote
        pass
    finally:
        encoder.unknown.counts = unknown
    return Background("centre", centre(schema)[None])


def centre(schema: Schema) -> NDArray[np.float32]:
    """Returns an encoded row in the middle of the schema, `(width,)`.

    A number and a date are at the centre of the training part. A category is the one that a missing value stands for;
    or unknown, if the column takes unknown or missing categories; or else all categories in equal parts.
    """
    row = np.zeros(schema.width, dtype=np.float32)
    at = 0
    for column in schema.columns:
        cells = row[at : at + column.width]
        at += column.width
        if isinstance(column, CategoricalColumn):
            _write_middle(column, cells)
            continue
        cells[0] = column.shift
        if isinstance(column, DateColumn):
            moment = np.array([round(column.fill * _DAY)], dtype="M8[us]")
            for i, part in enumerate(column.parts):
                cells[1 + 2 * i : 3 + 2 * i] = circle_points(part, moment)[0]
    return row


def _write_middle(column: CategoricalColumn, cells: NDArray[np.float32]) -> None:
    """Writes the features of a category in the middle into `(width,)` zeros, which mean an unknown category.

    Of two categories with one feature, -1 and 1, zero is halfway.
    """
    if column.fill is not None:
        place = column.categories.index(column.fill)
        if column.encoding == "one_hot":
            cells[place] = 1.0
        else:
            cells[0] = place + 1 if column.encoding == "index" else 2 * place - 1
    elif column.encoding == "one_hot" and "ignore" not in (column.unknown, column.missing):
        cells[:] = 1 / len(column.categories)
