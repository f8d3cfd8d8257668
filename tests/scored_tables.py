"""Models of each kind, and tables with columns of each kind, for the tests of bulk scoring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from ensembles import ensemble
from serving import make_checkpoint, numeric

from models.columns.column import CategoricalColumn, DateColumn, NumericColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.store import Store

NUMBERS = Schema(
    columns=tuple(numeric(f"x{i}") for i in range(4)), target=ClassTarget(name="kind", labels=("red", "green", "blue"))
)
MIXED = Schema(
    columns=(
        NumericColumn(name="age", mean=40, std=12, minimum=0, maximum=110, missing="indicator"),
        NumericColumn(name="height", mean=170, std=9, minimum=100, maximum=220),
        CategoricalColumn(name="town", categories=("Ely", "Rye", "Åre"), unknown="ignore", missing="ignore"),
        CategoricalColumn(name="floor", categories=("1", "2", "3"), unknown="refuse", missing="refuse"),
        DateColumn(
            name="joined", mean=18_000, std=900, minimum=15_000, maximum=20_000, parts=("month",), missing="mean"
        ),
        CategoricalColumn(name="member", categories=("false", "true"), encoding="sign"),
    ),
    target=NumericTarget(name="spent", mean=1.6e9, std=4.0, minimum=1.6e9 - 50, maximum=1.6e9 + 50),
)
SIZES = Schema(columns=(numeric("a"), numeric("b")), target=ClassTarget(name="size", labels=(1, 2, 40)))


def make_store(folder: Path) -> Store:
    """Publishes the models `numbers`, `mixed` and `sizes`, an ensemble of three."""
    store = Store(folder)
    store.publish("numbers", make_checkpoint(NUMBERS, 16, 16))
    store.publish("mixed", make_checkpoint(MIXED, 16))
    store.publish("sizes", ensemble(SIZES, 3, 8))
    return store


def numbers() -> pa.Table:
    """Makes fifty thousand rows for `numbers`, with a column `id`."""
    rng = np.random.default_rng(3)
    columns = {f"x{i}": rng.normal(size=50_000).astype(np.float32) for i in range(4)}
    return pa.table({"id": np.arange(50_000), **columns})


def mixed() -> pa.Table:
    """Makes five thousand rows for `mixed`, with gaps in columns that take gaps, and an unknown town."""
    rng = np.random.default_rng(4)
    rows = 5_000
    age = pa.array(rng.normal(40, 12, rows).round(2), mask=rng.random(rows) < 0.1)
    town = pa.array(rng.choice(["Ely", "Rye", "Åre", "Ayr"], rows).tolist(), mask=rng.random(rows) < 0.1)
    joined = np.datetime64("2015-03-01") + rng.integers(0, 3000, rows).astype("timedelta64[D]")
    return pa.table(
        {
            "joined": pa.array(joined, pa.date32(), mask=rng.random(rows) < 0.1),
            "note": [f'row {i}, "quoted"\nin two lines' for i in range(rows)],
            "floor": rng.integers(1, 4, rows),
            "age": age,
            "member": rng.random(rows) < 0.5,
            "town": town,
            "height": rng.normal(170, 9, rows).round(3),
        }
    )


def write(table: pa.Table, path: Path, **options: object) -> Path:
    """Writes a table in the format of the path's suffix, and returns the path."""
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, **options)
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    elif path.suffix == ".gz":
        with pa.CompressedOutputStream(str(path), "gzip") as file:
            pyarrow.csv.write_csv(table, file)
    else:
        make = pa.ipc.new_stream if path.suffix == ".arrows" else pa.ipc.new_file
        with make(str(path), table.schema) as writer:
            writer.write_table(table, max_chunksize=1_000)
    return path
