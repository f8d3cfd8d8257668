"""Typed cells of a column of categories have one spelling, in training and in each way in; the spellings are listed."""

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from arrow_streams import bytes_of, categories, encoder_of, read, stream_of
from scored_tables import write

from models.columns.cell_text import category_of
from models.columns.frame_rows import rows_of
from models.columns.named_columns import cells_for
from scoring.cells import cells_of
from scoring.reading import opened
from scoring.source_files import files_of
from training.data.column_choices import ColumnChoices
from training.data.source import read_source
from training.data.table import Table
from training.data.understanding import read_training_table

MOMENTS = ["2024-05-31T00:00", "2024-05-31T07:05", "2024-05-31T07:05:03.250001"]
WRITTEN = ["2024-05-31", "2024-05-31T07:05:00Z", "2024-05-31T07:05:03.250001Z"]
EAST = datetime.timezone(datetime.timedelta(hours=2))


def moments(unit: str, zone: str | None = None) -> pa.Array:
    stored = pa.array(np.array(MOMENTS, dtype=f"datetime64[{unit}]"))
    return stored if zone is None else stored.cast(pa.timestamp(unit, zone))


def decimals(kind: pa.DataType, *texts: str) -> pa.Array:
    return pa.array([Decimal(text) for text in texts], kind)


# Cells, and their spellings: the digits that a CSV file of the same table has, without the zeros of a whole number.
CELLS: dict[str, tuple[pa.Array, list[str]]] = {
    "moments": (moments("us"), WRITTEN),
    "moments to the nanosecond": (moments("ns"), WRITTEN),
    "moments in Kolkata": (moments("us", "Asia/Kolkata"), WRITTEN),
    "days": (pa.array([datetime.date(2024, 5, 31), datetime.date(999, 1, 1)]), ["2024-05-31", "0999-01-01"]),
    "small decimals": (
        decimals(pa.decimal128(12, 8), "0", "0.0000001", "-0.00000123", "1.1", "7"),
        ["0", "0.00000010", "-0.00000123", "1.10000000", "7"],
    ),
    "wide decimals": (decimals(pa.decimal256(60, 30), "0", "1e-30"), ["0", "0." + "0" * 29 + "1"]),
    "decimals of thousands": (decimals(pa.decimal128(5, -3), "12000", "0"), ["12000", "0"]),
}


def with_pandas(cells: pa.Array) -> pd.DataFrame:
    frame = pa.table({"c": cells}).to_pandas()
    return frame if pa.types.is_decimal(cells.type) else frame.assign(c=frame["c"].astype(object))


FRAMES: dict[str, Any] = {
    "pandas": lambda cells: pa.table({"c": cells}).to_pandas(),
    "objects of pandas": with_pandas,
    "pandas of Arrow types": lambda cells: pa.table({"c": cells}).to_pandas(types_mapper=pd.ArrowDtype),
    "Arrow": lambda cells: pa.table({"c": cells}),
    "record batch": lambda cells: pa.record_batch({"c": cells}),
}


def trained(table: Any) -> set[str]:
    """Returns the categories that training finds in a table of a single column."""
    rows = table.num_rows
    some = pa.concat_tables([table] * 4).append_column("y", pa.array(["no", "yes"] * (2 * rows)))
    choices = ColumnChoices(categorical=("c",), keep_constant=True)
    found = read_training_table(Table.from_arrow(some, source="t"), name="t", target="y", choices=choices)
    return set(found.features["c"].names)


def test_training_has_the_spellings_of_a_csv_file(tmp_path: Path) -> None:
    for cells, spellings in CELLS.values():
        assert trained(pa.table({"c": cells})) == set(spellings)
    _, written = CELLS["small decimals"]
    texts = ["0.00000000", "0.00000010", "-0.00000123", "1.10000000", "7.00000000"]
    (tmp_path / "t.csv").write_text("c,y\n" + "".join(f"{text},{y}\n" for text in texts for y in "ab"))
    choices = ColumnChoices(categorical=("c",))
    found = read_training_table(read_source(tmp_path / "t.csv"), name="t", target="y", choices=choices)
    assert set(found.features["c"].names) == set(written)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", CELLS)
def test_a_frame_has_the_spellings_of_training(name: str, frame: str) -> None:
    cells, spellings = CELLS[name]
    rows = rows_of(FRAMES[frame](cells), ["c"], categorical=["c"])
    assert [category_of(cell) for (cell,) in rows] == spellings


def test_rows_and_single_moments_have_the_spellings_of_training() -> None:
    aware = datetime.datetime(2024, 5, 31, 9, 5, tzinfo=EAST)
    for cell, spelling in [
        (pd.Timestamp("2024-05-31"), "2024-05-31"),
        (aware, "2024-05-31T07:05:00Z"),
        (pd.Timestamp(aware), "2024-05-31T07:05:00Z"),
        (np.datetime64("2024-05-31"), "2024-05-31"),
        (np.datetime64("2024-05-31T07:05"), "2024-05-31T07:05:00Z"),
    ]:
        for rows in ([[cell]], [{"c": cell}], {"c": cell}, pd.Series({"c": cell}, dtype=object)):
            (row,) = rows_of(rows, ["c"], categorical=["c"])
            assert list(row.values() if isinstance(row, dict) else row) == [spelling], (cell, rows)


def test_a_moment_outside_the_years_1_to_9999_stays_as_it_is() -> None:
    edge = datetime.datetime(1, 1, 1, tzinfo=EAST)
    expected = ["0001-01-01T00:00:00.000000+02:00", "12024-05-31"]
    assert rows_of([[edge, np.datetime64("12024-05-31")]], ["a", "b"]) == [expected]


@pytest.mark.parametrize("kind", ["pandas", "Arrow"])
def test_periods_are_the_moments_at_which_they_begin(kind: str) -> None:
    frame = pd.DataFrame({"c": pd.period_range("2024-05-31 22:00", periods=3, freq="h")})
    table = pa.Table.from_pandas(frame)
    spellings = ["2024-05-31T22:00:00Z", "2024-05-31T23:00:00Z", "2024-06-01"]
    assert trained(table) == set(spellings)
    rows = rows_of(frame if kind == "pandas" else table, ["c"], categorical=["c"])
    assert rows == [[spelling] for spelling in spellings]


SCORED = [(name, suffix) for name in CELLS for suffix in (".parquet", ".arrow")]
SCORED.remove(("decimals of thousands", ".parquet"))  # which Parquet does not have


@pytest.mark.parametrize(("name", "suffix"), SCORED)
def test_a_file_that_is_scored_has_the_spellings_of_training(name: str, suffix: str, tmp_path: Path) -> None:
    cells, spellings = CELLS[name]
    table = pa.table({"c": pa.concat_arrays([cells, pa.nulls(1, cells.type)])})
    column = categories("c", *spellings)
    with opened(files_of(write(table, tmp_path / f"t{suffix}"))[0]) as reader:
        (batch,) = reader.batches((0, 1), ["c"], 100)
    found = cells_for(column, cells_of(batch.column(0), column))
    assert [category_of(cell) for cell in found] == [*spellings, None]


@pytest.mark.parametrize("name", CELLS)
def test_an_arrow_stream_has_the_spellings_of_training(name: str) -> None:
    cells, spellings = CELLS[name]
    encoder = encoder_of(categories("c", *spellings, unknown="refuse"))
    expected = encoder.encode([[spelling] for spelling in spellings])
    assert bytes_of(read(encoder, stream_of(pa.table({"c": cells})))) == expected
