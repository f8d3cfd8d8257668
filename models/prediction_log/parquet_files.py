"""Logged rows as Parquet files, a file for each spool and model version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.columns.column import CategoricalColumn, DateColumn
from models.columns.labels import label_text
from models.covered_answers import value_columns
from models.errors import DataError
from models.label_arrays import label_array_type
from models.prediction_log.cells import LoggedCells
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.logged_version import LoggedVersion
from models.whole_file import sync_folder

INPUT, PROBABILITY, SCORE = "input.", "probability.", "score."
_METADATA = b"axon.prediction_log"
_MICROSECONDS = 1_000_000


def write_parquet(rows: LoggedRows, path: Path) -> None:
    """Writes rows to a file, which appears when all rows are in the file.

    Raises:
        OSError: the file cannot be written.
    """
    temporary = path.with_suffix(".new")
    try:
        pq.write_table(to_table(rows), temporary, compression="zstd", store_schema=True)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        sync_folder(path.parent)  # the spool of these rows is removed next
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_table(rows: LoggedRows) -> pa.Table:
    """Returns rows as an Arrow table."""
    version = rows.version
    count = len(rows)
    moments = np.round(rows.times * _MICROSECONDS).astype(np.int64)
    columns: dict[str, Any] = {
        "time": pa.array(moments, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
        "request_id": pa.array(rows.request_ids, pa.string()),
        "row": pa.array(rows.places, pa.int32()),
        "model": pa.array([version.name] * count, pa.string()),
        "version": pa.array(np.full(count, version.version), pa.int32()),
        "asked": pa.array(rows.asked, pa.string()),
        "members": pa.array(rows.members, pa.int32()),
    }
    for column, cells in zip(version.columns, rows.columns, strict=True):
        columns[INPUT + column.name] = _arrow(cells)
    values = rows.values()
    if version.labels:
        labels = pa.array(version.labels, label_array_type(version.labels))
        columns["prediction"] = labels.take(pa.array(rows.answers.argmax(axis=1)))
        for place, label in enumerate(version.labels):
            columns[_prefix(version) + label_text(label)] = pa.array(values[:, place], pa.float32())
    else:
        columns |= {name: pa.array(values[:, place]) for place, name in enumerate(_value_columns(version))}
    return pa.table(columns, metadata={_METADATA: orjson.dumps(version.to_dict())})


def read_parquet(path: Path) -> LoggedRows:
    """Reads the rows of a file.

    Raises:
        DataError: the file is no file of the log of predictions.
        OSError: the file cannot be read.
    """
    try:
        table = pq.ParquetFile(path).read()
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a Parquet file: {error}.") from None
    metadata = (table.schema.metadata or {}).get(_METADATA)
    if metadata is None:
        raise DataError(f"{path} is not a file of the log of predictions.")
    try:
        version = LoggedVersion.from_dict(orjson.loads(metadata))
    except DataError as error:
        raise DataError(f"{path} {error}") from None
    return LoggedRows(
        version=version,
        times=table["time"].cast(pa.int64()).to_numpy() / _MICROSECONDS,
        request_ids=table["request_id"].to_pylist(),
        places=table["row"].to_numpy(),
        asked=table["asked"].to_pylist(),
        members=table["members"].to_pylist(),
        columns=[_cells(column, table[INPUT + column.name]) for column in version.columns],
        answers=_answers(version, table),
    )


def _value_columns(version: LoggedVersion) -> list[str]:
    """Returns the names of the columns of a regressor's answers."""
    return ["prediction"] if version.targets is None else value_columns(version.targets)


def _prefix(version: LoggedVersion) -> str:
    return PROBABILITY if version.has_probabilities else SCORE


def _arrow(cells: LoggedCells) -> pa.Array:
    if isinstance(cells, list):
        return pa.array(cells, pa.string())
    if cells.dtype.kind == "M":
        return pa.array(cells, pa.timestamp("us", tz="UTC"))
    return pa.array(cells, from_pandas=True)  # NaN becomes null


def _cells(column: Any, cells: pa.ChunkedArray) -> LoggedCells:
    if isinstance(column, CategoricalColumn):
        texts: list[str | None] = cells.to_pylist()
        return texts
    if isinstance(column, DateColumn):
        return np.asarray(cells.cast(pa.timestamp("us")).to_numpy())
    return np.asarray(cells.cast(pa.float64() if column.origin else pa.float32()).to_numpy())


def _answers(version: LoggedVersion, table: pa.Table) -> NDArray[np.float32]:
    if not version.labels:
        values = np.column_stack([table[name].to_numpy() for name in _value_columns(version)])
        return np.asarray(values - version.origin, dtype=np.float32)
    prefix = _prefix(version)
    columns = [table[prefix + label_text(label)].to_numpy() for label in version.labels]
    return np.column_stack(columns).astype(np.float32)
