"""Arrow's types, as feature, target, weight, group and time: each is read, or refused with its name."""

import contextlib
import datetime as dt
import subprocess
import sys
import uuid
from decimal import Decimal
from itertools import product

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from raw_tables import cells, read

from models.errors import AxonError, DataError
from training.data.column_choices import ColumnChoices
from training.data.inspection import inspect_table
from training.data.source import read_source
from training.data.table import Table
from training.data.understanding import read_training_table

ROWS = 40
CODES = [i * 7 % 4 for i in range(ROWS)]


def of(values, kind):
    return pa.array([values[code] for code in CODES], kind)


def stored_as(kind, values):
    return pa.ExtensionArray.from_storage(kind, values)


NUMBERS = [0, 1, 2, 5]
TEXTS = ["a", "b", None, "d"]
BYTES = [b"a", b"\xff", b"c", b"d"]
UUIDS = [uuid.UUID(int=2**100 + i) for i in range(4)]
LISTS = [[1], [2, 3], [], [4]]
MOMENTS = [dt.datetime(2024, 1, day) for day in (1, 2, 3, 4)]
PERIODS = pd.period_range("2024-01", periods=4, freq="M")
READ = {
    "string_view": (of(TEXTS, pa.string_view()), TEXTS),
    "large_string": (of(TEXTS, pa.large_string()), TEXTS),
    "dictionary": (of(TEXTS, pa.string()).dictionary_encode(), TEXTS),
    "dictionary of string_view": (
        of(TEXTS, pa.string()).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string())),
        TEXTS,
    ),
    "dictionary of numbers": (of(NUMBERS, pa.int64()).dictionary_encode(), NUMBERS),
    "uuid": (of([value.bytes for value in UUIDS], pa.uuid()), [str(value) for value in UUIDS]),
    "bool8": (stored_as(pa.bool8(), of([0, 1, 1, 0], pa.int8())), [False, True, True, False]),
    "float16": (pa.array(np.array([NUMBERS[code] for code in CODES], np.float16)), NUMBERS),
    "uint64": (of([2**63 + 2**20 * i for i in range(4)], pa.uint64()), [float(2**63 + 2**20 * i) for i in range(4)]),
    "decimal32": (of([Decimal(i) for i in NUMBERS], pa.decimal32(5, 2)), NUMBERS),
    "decimal64": (of([Decimal(i) for i in NUMBERS], pa.decimal64(12, 2)), NUMBERS),
    "decimal128": (of([Decimal(i) for i in NUMBERS], pa.decimal128(20, 2)), NUMBERS),
    "decimal256": (of([Decimal(i) for i in NUMBERS], pa.decimal256(50, 2)), NUMBERS),
    "run_end_encoded": (pc.run_end_encode(of(NUMBERS, pa.int64())), NUMBERS),
    "duration": (of(NUMBERS, pa.duration("ms")), [number / 1000 for number in NUMBERS]),
    "time32": (of(NUMBERS, pa.time32("s")), NUMBERS),
    "time64": (of([1_500, 0, 2_500, 500], pa.time64("us")), [0.0015, 0.0, 0.0025, 0.0005]),
    "date32": (of(MOMENTS, pa.date32()), MOMENTS),
    "date64": (of(MOMENTS, pa.date64()), MOMENTS),
    "timestamp s": (of(MOMENTS, pa.timestamp("s")), MOMENTS),
    "timestamp ns": (of(MOMENTS, pa.timestamp("ns")), MOMENTS),
    "timestamp tz": (of(MOMENTS, pa.timestamp("ms", "Europe/Berlin")), MOMENTS),
    "period": (pa.array(PERIODS[CODES]), [period.start_time.to_pydatetime() for period in PERIODS]),
}
REFUSED = {
    "binary": of(BYTES, pa.binary()),
    "large_binary": of(BYTES, pa.large_binary()),
    "binary_view": of(BYTES, pa.binary_view()),
    "fixed_size_binary": of(BYTES, pa.binary(1)),
    "dictionary of binary": of(BYTES, pa.binary()).dictionary_encode(),
    "list": of(LISTS, pa.list_(pa.int64())),
    "large_list": of(LISTS, pa.large_list(pa.int64())),
    "list_view": of(LISTS, pa.list_view(pa.int64())),
    "fixed_size_list": of([[i, i] for i in range(4)], pa.list_(pa.int64(), 2)),
    "struct": of([{"a": i} for i in range(4)], pa.struct([("a", pa.int64())])),
    "map": of([[("a", i)] for i in range(4)], pa.map_(pa.string(), pa.int64())),
    "pandas interval": pa.array(pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3, 4])[CODES]),
    "tensor": stored_as(
        pa.fixed_shape_tensor(pa.int32(), [2]), of([[i, i] for i in range(4)], pa.list_(pa.int32(), 2))
    ),
    "month_day_nano": of([pa.MonthDayNano([i, 1, 1]) for i in range(4)], pa.month_day_nano_interval()),
}
ALL = {**{name: cells for name, (cells, _) in READ.items()}, **REFUSED, "null": pa.nulls(ROWS)}
ROLES = {
    "feature": {},
    "categorical": {"categorical": ("c",)},
    "numeric": {"numeric": ("c",)},
    "date": {"date": ("c",)},
    "weight": {"weight": "c"},
    "group": {"group": "c"},
    "time": {"time": "c"},
    "dropped": {"drop": ("c",)},
}


def table_of(cells):
    return pa.table({"x": np.arange(ROWS) % 7 / 3, "c": cells, "y": [i % 2 for i in range(ROWS)]})


@pytest.mark.parametrize("name", list(ALL))
def test_no_type_ends_in_anything_but_a_table_or_a_sentence(name):
    raw = Table.from_arrow(table_of(ALL[name]), source="t")
    for target, choices in [("c", {}), ("c", {"drop_missing_target": True}), *product("y", ROLES.values())]:
        for task in (None, "classification", "regression"):
            with contextlib.suppress(AxonError):
                read_training_table(raw, name="t", target=target, task=task, choices=ColumnChoices(**choices))
    for target in (None, "c", "y"):
        inspect_table(raw, target=target).to_dict()


def written(tmp_path, cells):
    """Returns the table, written to Parquet and read back if Parquet has the type."""
    table = table_of(cells)
    try:
        pq.write_table(table, tmp_path / "t.parquet")
    except pa.ArrowNotImplementedError:
        return Table.from_arrow(table, source="t")
    return read_source(tmp_path / "t.parquet")


@pytest.mark.parametrize(("cells", "expected"), READ.values(), ids=READ)
def test_what_is_read_is_what_the_type_says(tmp_path, cells, expected):
    table = written(tmp_path, cells)
    understood = read_training_table(table, name="t", target="y").features["c"]
    values = understood.to_strings().tolist() if hasattr(understood, "to_strings") else understood
    if isinstance(expected[0], bool):
        expected = [str(value).lower() for value in expected]
    if isinstance(expected[0], str):
        assert values == [expected[code] for code in CODES]
    else:
        np.testing.assert_array_equal(values, np.array([expected[code] for code in CODES], dtype=understood.dtype))


@pytest.mark.parametrize("cells", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("role", ["column", "target", "weight", "group", "time"])
def test_what_is_not_read_is_refused_by_the_name_of_its_type_in_every_role(cells, role):
    raw = Table.from_arrow(table_of(cells), source="t")
    target, choices = ("c", {}) if role == "target" else ("y", {} if role == "column" else {role: "c"})
    with pytest.raises(
        AxonError, match=rf"{role} 'c' of t holds .*, which is neither numbers nor names nor dates"
    ) as no:
        read_training_table(raw, name="t", target=target, choices=ColumnChoices(**choices))
    assert ("(--drop c)" in str(no.value)) == (role == "column")
    assert read_training_table(raw, name="t", target="y", choices=ColumnChoices(drop=("c",))).rows == ROWS


@pytest.mark.parametrize("name", ["duration", "time32", "period"])
def test_what_a_client_has_to_write_in_another_way_is_told(name):
    notes = Table.from_arrow(table_of(ALL[name]), source="t").notes
    assert ["are read, and served, as" in note for note in notes] == [True]


def test_periods_are_read_alike_where_pandas_has_not_told_arrow_of_them(tmp_path):
    pq.write_table(table_of(READ["period"][0]), tmp_path / "t.parquet")
    script = (
        "import sys\nfrom training.data.source import read_source\n"
        "assert 'pandas' not in sys.modules\n"
        f"print(read_source({str(tmp_path / 't.parquet')!r}).columns['c'][1])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(PERIODS[CODES[1]].start_time)


@pytest.mark.parametrize(
    "cells",
    [[1, "a"], [uuid.uuid4(), "b"], [2**70, 1], [1j, 2j], [object(), 1]],
    ids=["mixed", "uuid", "large", "complex", "object"],
)
def test_a_data_frame_of_what_arrow_has_not_is_refused_in_a_sentence(cells):
    frame = pd.DataFrame({"a": pd.Series(cells * 10, dtype=object), "y": [0, 1] * 10})
    with pytest.raises(AxonError, match="has a column of mixed types, or of a type that is not read, 'a': "):
        read_source(frame)


def test_bins_of_pandas_are_refused_and_taken_as_texts():
    frame = pd.DataFrame({"x": np.arange(ROWS) % 9, "y": [0, 1] * (ROWS // 2)})
    frame["bin"] = pd.cut(frame["x"], 3)
    with pytest.raises(AxonError, match="'bin' of the data frame holds struct"):
        read_training_table(read_source(frame), name="t", target="y")
    frame["bin"] = frame["bin"].astype(str)
    assert read_training_table(read_source(frame), name="t", target="y").kind("bin") == "categorical"


@pytest.mark.parametrize("source", [pd.Series([1, 2]), np.zeros((2, 2)), [[1, 2]], {"a": [1]}, None, 5])
def test_what_is_not_a_table_is_refused_by_the_name_of_its_type(source):
    with pytest.raises(AxonError, match=f"'{type(source).__name__}' is not a table"):
        read_source(source)


def test_a_record_batch_is_a_table():
    (batch,) = pa.table({"a": [1, 2]}).to_batches()
    assert read_source(batch).columns["a"].to_pylist() == [1, 2]


class TestNullsInDictionaries:
    """Arrow has two forms of a missing cell: no index, and the index of a null value."""

    CELLS = ("a", "b", None, " a", "b", "NA")

    def columns(self, form, chunks):
        cells = pa.array(self.CELLS * 10)
        parts = [cells.slice(i * len(cells) // chunks, len(cells) // chunks) for i in range(chunks)]
        y = pa.chunked_array([part.dictionary_encode(null_encoding=form) for part in parts])
        return {"x": [i % 17 for i in range(len(cells))], "w": [i % 13 for i in range(len(cells))], "y": y}

    @pytest.mark.parametrize("chunks", [1, 2, 3])
    def test_both_are_gaps(self, chunks):
        encoded, masked = (self.columns(form, chunks) for form in ("encode", "mask"))
        table, like = (read(columns, drop_missing_target=True) for columns in (encoded, masked))
        assert table.rows == 40
        assert table.notes == like.notes
        assert any("has 10 cells that say missing ('NA')" in note for note in table.notes)
        assert [table.labels[code] for code in table.target] == ["a", "b", "a", "b"] * 10
        feature, known = ({"y": [1, 2, 3] * 20, "x": columns["y"]} for columns in (encoded, masked))
        assert cells(read(feature), "x") == cells(read(known), "x") == ["a", "b", None, "a", "b", None] * 10
        with pytest.raises(DataError, match=r"target 'y' of the table has no value at row 2 .* and 19 more"):
            read(encoded)

    def test_a_table_made_of_columns_has_one_form(self):
        y = pa.array(["a", None, "b", None]).dictionary_encode(null_encoding="encode")
        assert Table(source="t", columns={"y": y}).columns["y"].null_count == 2
