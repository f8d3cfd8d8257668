"""Converts Arrow's many column types to the few that the rest of the reader knows: numbers, booleans, dates and texts.

Types with a plain meaning are converted, with a note where a client has to know about it. Other types stay as they are,
and a column of such a type is refused by name where it is used.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from training.data.cells import without_null_values

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def plain_column(column: pa.ChunkedArray, field: pa.Field) -> tuple[pa.ChunkedArray, str | None]:
    """Converts a column to a plain type, where its type has a plain meaning.

    Args:
        column: cells of any type.
        field: Arrow field of the column, whose metadata may name an extension type that is not registered here.

    Returns:
        The cells, and a remark on how they are read, as words that follow the column's name in a sentence;
        None if there is nothing to say.
    """
    column, extension = _storage(column, field)
    kind = column.type
    if extension == "arrow.uuid":
        return pa.chunked_array([_uuid_texts(chunk) for chunk in column.chunks], pa.string()), None
    if extension == "arrow.bool8":
        return pc.not_equal(column, 0), None
    if extension == "pandas.period":
        return _periods(column, field)
    if pa.types.is_run_end_encoded(kind):
        return plain_column(pa.chunked_array(map(pc.run_end_decode, column.chunks), kind.value_type), field)
    if pa.types.is_dictionary(kind) and not _is_text(kind.value_type):
        decoded = [chunk.dictionary_decode() for chunk in column.chunks]
        return plain_column(pa.chunked_array(decoded, kind.value_type), field)
    if pa.types.is_dictionary(kind) and any(chunk.dictionary.null_count for chunk in column.chunks):
        column = pa.chunked_array([without_null_values(chunk) for chunk in column.chunks])
        kind = column.type
    if pa.types.is_string_view(kind):
        return column.cast(pa.large_string()), None
    if pa.types.is_dictionary(kind) and pa.types.is_string_view(kind.value_type):
        return column.cast(pa.large_string()), None
    if pa.types.is_float16(kind):
        return column.cast(pa.float32()), None
    if pa.types.is_decimal(kind) and kind.bit_width < 128:  # Arrow cannot dictionary-encode these
        return column.cast(pa.decimal128(kind.precision, kind.scale)), None
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        what = "durations" if pa.types.is_duration(kind) else "times of day"
        after = "" if pa.types.is_duration(kind) else " after midnight"
        return _seconds(column), f"holds {what}, which are read, and served, as numbers of seconds{after}."
    if extension is not None and not pa.types.is_nested(kind):
        return column, f"has the type {extension}, and is read as what it is stored as, {kind}."
    return column, None


def is_plain(kind: pa.DataType) -> bool:
    """Returns True if the cells of a type are numbers, booleans, dates or texts, so that each can be named."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_date(kind)
        or pa.types.is_null(kind)
        or _is_text(kind)
    )


def _storage(column: pa.ChunkedArray, field: pa.Field) -> tuple[pa.ChunkedArray, str | None]:
    """Returns the stored cells of a column, and the name of its extension type; None for no extension."""
    if isinstance(column.type, pa.BaseExtensionType):
        kind = column.type.storage_type
        return pa.chunked_array([chunk.storage for chunk in column.chunks], kind), column.type.extension_name
    name = (field.metadata or {}).get(b"ARROW:extension:name")
    return column, None if name is None else name.decode(errors="replace")


def _uuid_texts(cells: pa.Array) -> pa.Array:
    """Formats UUIDs of 16 bytes as texts with 8-4-4-4-12 digits."""
    missing = pc.is_null(cells).to_numpy(zero_copy_only=False)
    digits = pc.fill_null(cells, bytes(16)).cast(pa.binary()).to_pylist()
    texts = [text.hex() for text in digits]
    written = [f"{t[:8]}-{t[8:12]}-{t[12:16]}-{t[16:20]}-{t[20:]}" for t in texts]
    return pa.array(written, pa.string(), mask=np.asarray(missing))


def _periods(column: pa.ChunkedArray, field: pa.Field) -> tuple[pa.ChunkedArray, str | None]:
    """Converts each of pandas' periods to the time at which the period begins."""
    # Imported here: pandas takes half a second, and few tables have periods.
    import pandas as pd

    frequency = _frequency(field)
    if frequency is None:
        return column, "has pandas' periods of an unknown length, and is read as their numbers."
    whole = pc.fill_null(column, 0).to_numpy()
    periods: Any = pd.PeriodIndex  # pandas' stubs lack the constructor `from_ordinals`
    begins = periods.from_ordinals(whole, freq=frequency).to_timestamp().to_numpy()
    missing = pc.is_null(column).to_numpy()
    moments = pa.array(begins.astype("datetime64[us]"), mask=np.asarray(missing))
    return pa.chunked_array([moments]), "holds periods, which are read, and served, as the dates at which they begin."


def _frequency(field: pa.Field) -> str | None:
    """Returns pandas' name of the length of a column's periods; None if the length is not known."""
    if isinstance(field.type, pa.BaseExtensionType):
        serialized: Any = field.type.__arrow_ext_serialize__()
    else:
        serialized = (field.metadata or {}).get(b"ARROW:extension:metadata")
    try:
        return str(json.loads(serialized)["freq"])
    except (TypeError, ValueError, KeyError):
        return None


def _seconds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Converts durations and times of day to float64 seconds."""
    unit = column.type.unit
    whole = column.cast(pa.int32()).cast(pa.int64()) if column.type.bit_width == 32 else column.cast(pa.int64())
    return pc.divide(whole.cast(pa.float64(), safe=False), pa.scalar(10.0**9 / _NANOSECONDS[unit]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
