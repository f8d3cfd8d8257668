"""Numbers with two readings in a CSV file whose cells semicolons divide: such rows do not fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from models.columns.number_points import PointsSeen, two_readings
from models.errors import Fault

Doubtful = Mapping[str, pa.Array]  # distinct texts with two readings, by column


def doubtful_cells(seen: PointsSeen, batch: pa.RecordBatch, names: Sequence[str]) -> Doubtful:
    """Returns the distinct texts of a batch that have two readings, by column.

    Args:
        seen: columns of the file in which earlier batches have shown a decimal point.
        batch: next rows of the file, all cells as texts.
        names: names of the columns of numbers.
    """
    found: dict[str, pa.Array] = {}
    for name in names:
        if seen.are_certain(name):  # before the texts are looked at, which takes longer than reading them
            continue
        cells = batch.column(name)
        dotted = cells.filter(pc.match_substring(cells, ".")).unique()
        if texts := seen.doubtful(name, dotted.to_pylist()):
            found[name] = pa.array(texts, cells.type)
    return found


def with_readings(faults: Sequence[Fault], batch: pa.RecordBatch, doubtful: Doubtful) -> list[Fault]:
    """Returns the faults, and tells both readings of a number that has two.

    Args:
        faults: faults of the batch's rows.
        batch: rows of the file, all cells as texts.
        doubtful: distinct texts with two readings, by column.
    """
    known = {name: set(texts.to_pylist()) for name, texts in doubtful.items()}
    return [_with_reading(fault, batch, known) for fault in faults]


def _with_reading(fault: Fault, batch: pa.RecordBatch, known: Mapping[str, set[str]]) -> Fault:
    texts = known.get(fault.column or "")
    if texts is None:
        return fault
    text = batch.column(fault.column)[fault.row].as_py()
    return replace(fault, message=two_readings(text)) if text in texts else fault
