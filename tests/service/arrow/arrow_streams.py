"""Arrow streams by pyarrow, and the rows that the reader makes of a stream."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, Column, DateColumn, NumericColumn, Schema
from service.http.wire.arrow_request import ArrowRequest
from service.large_reading import LargeReading

LIMIT = 1 << 25


def encoder_of(*columns: Column) -> RowEncoder:
    return RowEncoder(Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes"))))


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0} | changes))


def categories(name: str, *known: str, **changes: Any) -> CategoricalColumn:
    return CategoricalColumn(
        **({"name": name, "categories": known, "unknown": "ignore", "missing": "ignore"} | changes)
    )


def date(name: str, **changes: Any) -> DateColumn:
    given = {"mean": 0.0, "std": 300.0, "minimum": -9e4, "maximum": 9e4, "parts": ("month", "day", "weekday", "hour")}
    return DateColumn(**(given | {"name": name, "missing": "indicator"} | changes))


def stream_of(table: pa.Table, *, rows_a_batch: int | None = None, **options: Any) -> bytes:
    """Writes a table as a stream."""
    out = io.BytesIO()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows_a_batch)
    return out.getvalue()


def read(encoder: RowEncoder, body: bytes, *, limit: int = LIMIT, most_rows: int = 10**6) -> LargeReading:
    """Reads all steps of a body."""
    encoder.unknown.take()
    request = ArrowRequest(body, "m", encoder, limit=limit, kept={})
    reading = LargeReading(request, encoder, most_rows=most_rows)
    done = sum(size or 0 for size in reading.steps())
    assert done <= len(body)
    return reading


def bytes_of(reading: LargeReading) -> bytes:
    """Returns the encoded rows."""
    assert reading.rows is not None
    return b"".join(reading.rows.cut(0, reading.rows.rows))
