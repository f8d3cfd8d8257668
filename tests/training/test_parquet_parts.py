"""Folders of Parquet files of Spark, Dask, Hive and pyarrow are read as the same table as in pandas."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.errors import DataError
from training.data.raw_column import RawColumn
from training.data.source import read_source
from training.data.understanding import read_training_table
from training.sources import model_name

ROWS = 36
FRAME = pd.DataFrame(
    {
        "x": np.arange(ROWS) / 4,
        "colour": [None if i == 5 else ("red", "green", "blue")[i % 3] for i in range(ROWS)],
        "day": pd.to_datetime("2024-01-01") + pd.to_timedelta(np.arange(ROWS), unit="D"),
        "y": ["yes", "no", "no"] * (ROWS // 3),
    }
)


def spark(folder, frame=FRAME, parts=3):
    """Writes the files of Spark: parts, an empty part, marker files and check sums."""
    folder.mkdir(parents=True)
    for i, rows in enumerate(np.array_split(np.arange(len(frame)), parts)):
        name = f"part-{i:05d}-c0ffee-c000.snappy.parquet"
        frame.iloc[rows].to_parquet(folder / name, index=False)
        (folder / f".{name}.crc").write_bytes(b"crc")
    frame.iloc[:0].to_parquet(folder / f"part-{parts:05d}-c0ffee-c000.snappy.parquet", index=False)
    (folder / "_SUCCESS").touch()
    (folder / "_temporary").mkdir()
    (folder / "_temporary" / "part-9.parquet").write_bytes(b"half of a par")
    return folder


def columns(table):
    return {name: cells.to_pylist() for name, cells in table.columns.items()}


def as_lists(frame):
    return {
        name: [None if pd.isna(cell) else cell for cell in frame[name].astype(object).tolist()]
        for name in frame.columns
    }


def test_a_folder_of_spark_is_the_table_that_was_written(tmp_path):
    table = read_source(spark(tmp_path / "sales.parquet"))
    assert columns(table) == as_lists(FRAME)
    assert table.notes == ("sales.parquet was read as one table of 4 files.",)
    whole = tmp_path / "whole.parquet"
    FRAME.to_parquet(whole, index=False)
    fingerprints = {
        read_training_table(read, name="t", target="y").fingerprint() for read in (table, read_source(whole))
    }
    assert len(fingerprints) == 1


def test_the_parts_of_dask_are_read_in_the_order_of_their_numbers(tmp_path):
    for i in range(12):
        FRAME.iloc[3 * i : 3 * i + 3].to_parquet(tmp_path / f"part.{i}.parquet", index=False)
    pq.write_metadata(pa.Schema.from_pandas(FRAME, preserve_index=False), tmp_path / "_common_metadata")
    table = read_source(tmp_path)
    assert columns(table) == as_lists(FRAME)
    assert [table.locate(row) for row in (0, 31, 35)] == [
        f"row {row} of part.{part}.parquet (counting from 0)" for row, part in ((0, 0), (1, 10), (2, 11))
    ]


@pytest.mark.parametrize("values", [[2023, 2024, 2025], ["north", "süd/ost", "a b"], [0.5, 1.5, 10.0]])
def test_folders_of_key_and_value_are_a_column(tmp_path, values):
    frame = FRAME.assign(part=[values[i % 3] for i in range(ROWS)])
    frame.to_parquet(tmp_path / "t", partition_cols=["part"], index=False)
    expected = pd.concat([frame[frame["part"] == value] for value in values]).sort_values("x")
    read = pd.DataFrame(columns(read_source(tmp_path / "t"))).sort_values("x")
    pd.testing.assert_series_equal(
        read["part"].reset_index(drop=True), expected["part"].reset_index(drop=True), check_dtype=False
    )
    assert read["x"].tolist() == expected["x"].tolist()


def test_a_partition_without_a_value_is_a_gap_and_several_keys_are_several_columns(tmp_path):
    frame = FRAME.assign(
        year=[2023 + i % 2 for i in range(ROWS)], zone=[None if i % 4 else "east" for i in range(ROWS)]
    )
    frame.to_parquet(tmp_path / "t", partition_cols=["year", "zone"], index=False)
    read = pd.DataFrame(columns(read_source(tmp_path / "t"))).sort_values("x")
    assert read["year"].tolist() == frame["year"].tolist()
    assert [zone if isinstance(zone, str) else None for zone in read["zone"]] == frame["zone"].astype(object).where(
        frame["zone"].notna(), None
    ).tolist()


def test_a_folder_s_value_that_the_file_contradicts_is_refused(tmp_path):
    for year, written in ((2023, 2023), (2024, 1999)):
        (tmp_path / f"year={year}").mkdir()
        FRAME.assign(year=written).to_parquet(tmp_path / f"year={year}" / "a.parquet", index=False)
    with pytest.raises(
        DataError, match=r"year=2024/a.parquet: its column 'year' holds '1999', but its folder says '2024'"
    ):
        read_source(tmp_path)
    assert set(columns(read_source(tmp_path / "year=2023"))["year"]) == {2023}


def test_a_pattern_names_parts_and_their_keys(tmp_path):
    FRAME.assign(year=[2023 + i % 3 for i in range(ROWS)]).to_parquet(tmp_path, partition_cols=["year"], index=False)
    read = columns(read_source(f"{tmp_path}/year=202[34]/*.parquet"))
    assert sorted(read["x"]) == [x for i, x in enumerate(FRAME["x"]) if i % 3 < 2]
    assert set(read["year"]) == {2023, 2024}
    assert columns(read_source(f"{tmp_path}/year=2*"))["x"] == columns(read_source(tmp_path))["x"]
    with pytest.raises(DataError, match="no file matches"):
        read_source(f"{tmp_path}/year=19*/*.parquet")


def test_a_file_whose_name_has_brackets_is_no_pattern(tmp_path):
    FRAME.to_parquet(tmp_path / "price [kg]*.parquet", index=False)
    assert columns(read_source(tmp_path / "price [kg]*.parquet")) == as_lists(FRAME)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("data/sales.parquet/", "sales"),
        ("data/sales/*.parquet", "sales"),
        ("data/sales/year=*/*.parquet", "sales"),
        ("../sales.csv.gz", "sales"),
        ("_[x].csv", "x"),
        ("*.parquet", "model"),
        ("é.csv", "model"),
        ("a" * 90 + ".csv", "a" * 64),
    ],
)
def test_a_model_is_called_as_its_folder_or_file_is(tmp_path, monkeypatch, source, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_[x].csv").touch()
    assert model_name(source) == (name if source != "*.parquet" else model_name(tmp_path))


MERGED = {
    "numbers": (pa.array([1, 2], pa.int32()), pa.array([2.5, 3.5]), [1.0, 2.0, 2.5, 3.5]),
    "whole numbers": (pa.array([1, 2], pa.int8()), pa.array([2**40, 3]), [1, 2, 2**40, 3]),
    "decimals": (pa.array([Decimal("1.50"), None]), pa.array([2, 3]), [1.5, None, 2.0, 3.0]),
    "all gaps": (pa.nulls(2), pa.array(["a", "b"]), [None, None, "a", "b"]),
    "texts": (pa.array(["a", "b"], pa.string_view()), pa.array(["b", "c"], pa.large_string()), ["a", "b", "b", "c"]),
    "categories": (pa.array(["a", "b"]).dictionary_encode(), pa.array(["b", "c"]), ["a", "b", "b", "c"]),
    "dates": (
        pa.array([dt.date(2024, 1, 1)] * 2),
        pa.array([dt.datetime(2024, 1, 2)] * 2, pa.timestamp("ns")),
        [dt.datetime(2024, 1, 1)] * 2 + [dt.datetime(2024, 1, 2)] * 2,
    ),
}


@pytest.mark.parametrize(("first", "second", "expected"), MERGED.values(), ids=MERGED)
def test_parts_of_kindred_types_are_one_column(tmp_path, first, second, expected):
    pq.write_table(pa.table({"c": first, "y": [0, 1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"y": [0, 1], "c": second}), tmp_path / "2.parquet")  # in another order
    assert columns(read_source(tmp_path)) == {"c": expected, "y": [0, 1, 0, 1]}


LARGE = 2**53  # float64 holds every whole number up to this one
EXACT = {
    "signed and unsigned": (pa.array([LARGE + 1, 5]), pa.array([LARGE, LARGE + 2], pa.uint64())),
    "unsigned beyond the signed": (pa.array([LARGE + 1, None]), pa.array([2**64 - 1, 2**64 - 2], pa.uint64())),
    "negative beside unsigned": (pa.array([-LARGE - 1, None]), pa.array([2**64 - 1, 2**64 - 2], pa.uint64())),
    "decimals of two sizes": (
        pa.array([Decimal(LARGE + 1), Decimal(1)], pa.decimal128(18, 0)),
        pa.array([Decimal(LARGE), Decimal(10**19)], pa.decimal128(20, 0)),
    ),
    "whole numbers and decimals": (
        pa.array([LARGE + 1, 1]),
        pa.array([Decimal("9007199254740992.00"), Decimal("0.25")]),
    ),
    "encoded": (pa.array([LARGE + 1, 5]).dictionary_encode(), pa.array([LARGE, 2**63], pa.uint64())),
}


def write_parts(folder, name, first, second):
    for i, cells in enumerate((first, second)):
        pq.write_table(pa.table({name: cells, "y": ["a", "b"]}), folder / f"{i}.parquet")
    return folder


@pytest.mark.parametrize(("first", "second"), EXACT.values(), ids=EXACT)
def test_identifiers_of_64_bits_are_not_rounded_where_parts_differ(tmp_path, first, second):
    table = read_source(write_parts(tmp_path, "account", first, second))
    identifiers = [*first.to_pylist(), *second.to_pylist()]
    assert table.columns["account"].to_pylist() == identifiers
    categories = RawColumn(table, "account").categories()
    assert len(categories.distinct()) == len(set(identifiers) - {None})


@pytest.mark.parametrize("number", [LARGE + 1, -LARGE - 1, 2**62 + 1])
def test_a_number_that_floats_of_another_part_would_round_is_refused(tmp_path, number):
    write_parts(tmp_path, "account", pa.array([LARGE, number]), pa.array([1.0, None]))
    with pytest.raises(DataError) as refused:
        read_source(tmp_path)
    assert f"column 'account' of 0.parquet holds {number}, and double, the type" in str(refused.value)
    assert "(Int64 in pandas, which has gaps), or as texts." in str(refused.value)
    write_parts(tmp_path, "account", pa.array([LARGE, -LARGE]), pa.array([1.0, None]))
    assert read_source(tmp_path).columns["account"].to_pylist() == [LARGE, -LARGE, 1.0, None]


def test_parts_with_two_columns_of_one_name_are_refused(tmp_path):
    for i, kind in enumerate((pa.int64(), pa.float64())):
        twice = pa.table([pa.array([1, 2], kind), pa.array([3, 4], kind), ["a", "b"]], names=["x", "x", "y"])
        pq.write_table(twice, tmp_path / f"{i}.parquet")
    with pytest.raises(DataError, match=r"column 'x' stands twice in 0.parquet of "):
        read_source(tmp_path)


@pytest.mark.parametrize(
    "keys", [[10**18 + 1, 10**18], [2**63 + 1, 2**63], [10**25 + 1, 10**25], ["1.5", LARGE + 1], [-(2**63), 2**63 - 1]]
)
def test_identifiers_in_names_of_folders_stay_different(tmp_path, keys):
    for key in keys:
        (tmp_path / f"account={key}").mkdir()
        FRAME.to_parquet(tmp_path / f"account={key}" / "a.parquet", index=False)
    assert set(map(str, columns(read_source(tmp_path))["account"])) == set(map(str, keys))


def test_parts_that_do_not_go_together_are_refused_and_columns_that_some_lack_are_told(tmp_path):
    pq.write_table(pa.table({"c": [1, 2], "y": [0, 1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"c": ["1", "2"], "y": [0, 1]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"'c' holds string in 2\.parquet and int64 in 1\.parquet"):
        read_source(tmp_path)
    pq.write_table(pa.table({"y": [0, 1]}), tmp_path / "2.parquet")
    table = read_source(tmp_path)
    assert columns(table)["c"] == [1, 2, None, None]
    assert f"Column 'c' of {tmp_path.name} is not in 2.parquet: its rows have gaps there." in table.notes


def test_what_is_no_parquet_is_passed_over_with_a_note_and_a_file_without_an_ending_is_looked_at(tmp_path):
    FRAME.to_parquet(tmp_path / "000000_0", index=False, engine="pyarrow")
    (tmp_path / "README.txt").write_text("about")
    table = read_source(tmp_path)
    assert columns(table) == as_lists(FRAME)
    assert f"{tmp_path.name}: README.txt is not Parquet and passed over." in table.notes


REFUSED = {
    "an empty folder": (lambda folder: None, "is a folder without a file in it"),
    "only marks": (lambda folder: (folder / "_SUCCESS").touch(), "is a folder without a file in it"),
    "CSV": (lambda folder: (folder / "a.csv").write_text("a,b\n1,2\n"), r"has no Parquet file, but a\.csv"),
    "an empty part": (lambda folder: (folder / "a.parquet").touch(), r"a\.parquet of .* is empty"),
    "a damaged part": (lambda folder: (folder / "a.parquet").write_bytes(b"PAR1 no more"), "is not a sound Parquet"),
    "Delta Lake": (lambda folder: (folder / "_delta_log").mkdir(), "is a Delta Lake table"),
    "Hudi": (lambda folder: (folder / ".hoodie").mkdir(), "is a Hudi table"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_folders_that_are_no_table_are_refused(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        read_source(tmp_path)
