"""CSV files of many kinds are read; a file that cannot be read is refused with the line at fault."""

import gzip
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.columns.cell_text import MISSING_TEXTS
from models.errors import DataError
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.source import read_source
from training.data.text_column import TextColumn
from training.data.understanding import read_training_table


def columns(table):
    return {name: cells.to_pylist() for name, cells in table.columns.items()}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found_out(write, delimiter):
    path = write(f"a{delimiter}b\n1{delimiter}x\n2{delimiter}y\n")
    assert columns(read_csv(path)) == {"a": ["1", "2"], "b": ["x", "y"]}


def test_a_delimiter_within_quotes_is_not_counted(write):
    assert list(read_csv(write('"a,b,c,d";e\n1;2\n')).columns) == ["a,b,c,d", "e"]


def test_a_given_delimiter_is_obeyed(write):
    assert columns(read_csv(write("a,b|c\n1,2|3\n"), delimiter="|")) == {"a,b": ["1,2"], "c": ["3"]}


@pytest.mark.parametrize("delimiter", ["", "ab", '"', "\n"])
def test_a_delimiter_that_is_none_is_refused(write, delimiter):
    with pytest.raises(DataError, match="delimiter must be one character"):
        read_csv(write("a,b\n1,2\n"), delimiter=delimiter)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(write, encoding):
    assert columns(read_csv(write("größe,b\n1,ü\n".encode(encoding)))) == {"größe": ["1"], "b": ["ü"]}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_quotes_protect_delimiters_newlines_and_quotes(write, newline):
    path = write(newline.join(["a,b", '"x, ""y""","line one\nline two"', "z,w", ""]))
    assert columns(read_csv(path)) == {"a": ['x, "y"', "z"], "b": ["line one\nline two", "w"]}


def test_cells_and_names_lose_the_blanks_around_them(write):
    assert columns(read_csv(write("a, b \n 1 , x y \n"))) == {"a": ["1"], "b": ["x y"]}


def test_exactly_the_documented_cells_are_missing(write):
    cells = [*MISSING_TEXTS, "  ", "None", "n/a", "N/A", "-", "none", "0"]
    path = write("a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    expected = [None] * (len(MISSING_TEXTS) + 1) + ["None", "n/a", "N/A", "-", "none", "0"]
    assert columns(read_csv(path))["a"] == expected


def test_a_row_is_located_by_its_line_in_the_file_whatever_stands_above_it(write):
    table = read_csv(write('a,b\n1,"two\nlines"\n\n2,x\n3,y\n'))
    assert [table.locate(row) for row in range(3)] == ["line 2", "line 5", "line 6"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "flowers.csv is empty."),
        ("\n \n", "flowers.csv is empty."),
        (b"\xef\xbb\xbf", "flowers.csv is empty."),
        ("a,b\n", "flowers.csv has columns but no rows."),
        ("a,b", "flowers.csv has columns but no rows."),
        (",\n1,\n", "the first line of flowers.csv names no column"),
        ("a,b,a\n1,2,3\n", "column 'a' stands twice in flowers.csv, as column 1 and column 3."),
        ("a,,b\n0,1,2\n", "column 2 of flowers.csv has no name"),
        ("a,b,\n0,1,\n0,1,2\n", "column 3 of flowers.csv has no name"),
        ("a,b\n1,2\n3,4,5\n", "flowers.csv: line 3 has 3 cells where the first line has 2."),
        ("a,b\n1,2\n\n3\n", "flowers.csv: line 4 has 1 cell where the first line has 2."),
        ("name,b\nJos\xe9,1\n".encode("latin-1"), "flowers.csv is not UTF-8: line 2 holds the byte 0xe9"),
        (b"PAR1\x00\x00\x15", "flowers.csv is not a text file, but begins as a Parquet file does"),
        (bytes(range(256)), "flowers.csv is not a text file."),
        ('a,b\n1,"open\n2,3\n4,5,6\n', "a quote that begins a cell on line 2 ('1,\"open') is still open at the end"),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(write, content, message):
    path = write(content)
    with pytest.raises(DataError) as refused:
        read_csv(path)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("row_names", [None, "r{}"])
def test_the_names_of_rows_that_pandas_and_r_write_are_no_column(tmp_path, row_names):
    frame = pd.DataFrame({"a": [3, 1, 2], "b": ["x", None, "y"]})
    if row_names is not None:
        frame = frame.rename(row_names.format)
    frame.to_csv(tmp_path / "flowers.csv")
    table = read_csv(tmp_path / "flowers.csv")
    assert columns(table) == {"a": ["3", "1", "2"], "b": ["x", None, "y"]}
    assert table.notes == (
        "Column 1 of flowers.csv has no name and was passed over: pandas and R write the names of rows so.",
    )


def test_a_delimiter_at_the_ends_of_the_lines_makes_no_column(write):
    table = read_csv(write(",a,b,\n7,1,x,\n8,2,y, \n"))
    assert columns(table) == {"a": ["1", "2"], "b": ["x", "y"]}
    assert [note[:8] for note in table.notes] == ["Column 1", "Column 4"]


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.csv\."):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path)


ROWS = 5_000  # enough rows for a column to drop its texts


def long_file(write, **columns):
    """Writes a CSV file of many rows, in which y has two classes."""
    lines = [
        ",".join((*columns, "y")),
        *(",".join(map(str, row)) + f",{i % 2}" for i, row in enumerate(zip(*columns.values(), strict=True))),
    ]
    return write("\n".join(lines))


def test_long_columns_of_numbers_and_dates_are_held_as_such_and_repeated_texts_once(write):
    days = np.datetime64("2000-01-01") + np.arange(ROWS)
    numbers = [f"{i / 7:.6f}" for i in range(ROWS)]
    numbers[17] = "NA"
    table = read_csv(long_file(write, n=numbers, d=days, c=["u", "v"] * (ROWS // 2)))
    assert {name: str(cells.type) for name, cells in table.columns.items()} == {
        "n": "double",
        "d": "timestamp[us]",
        "c": "dictionary<values=string, indices=int32, ordered=0>",
        "y": "dictionary<values=string, indices=int32, ordered=0>",
    }
    understood = read_training_table(table, name="t", target="y")
    expected = np.array([np.nan if cell == "NA" else float(cell) for cell in numbers])
    np.testing.assert_array_equal(understood.features["n"], expected)
    np.testing.assert_array_equal(understood.features["d"], days.astype("datetime64[us]"))


def test_texts_that_were_let_go_are_read_again_where_they_are_wanted(write):
    codes = [f"1.1{i % 2500:04d}" for i in range(ROWS)]
    table = read_csv(long_file(write, code=codes, x=[0, 1] * (ROWS // 2)))
    assert str(table.columns["code"].type) == "double"
    choices = ColumnChoices(categorical=("code",))
    understood = read_training_table(table, name="t", target="y", choices=choices)
    assert understood.features["code"].to_strings().tolist() == codes
    kept = table.select(np.arange(ROWS) % 3 == 0)
    assert kept.with_texts("code").to_pylist() == codes[::3]
    assert kept.locate(1) == "line 5"


@pytest.mark.parametrize("distinct", [3, 2500])
def test_codes_with_zeros_before_them_keep_their_texts(write, tmp_path, distinct):
    codes = [f"{i % distinct:05d}" for i in range(ROWS)]
    table = read_csv(long_file(write, code=codes, x=[0, 1] * (ROWS // 2)))
    understood = read_training_table(table, name="t", target="y")
    assert understood.features["code"].to_strings().tolist() == codes
    assert (
        "Column 'code' holds codes of one width, such as '00000', and is read as names: --numeric code reads them as "
        "numbers."
    ) in understood.notes
    pq.write_table(
        pa.table({"code": codes, "x": [0, 1] * (ROWS // 2), "y": [0, 1] * (ROWS // 2)}), tmp_path / "t.parquet"
    )
    like = read_training_table(read_source(tmp_path / "t.parquet"), name="t", target="y")
    assert like.fingerprint() == understood.fingerprint()
    as_numbers = read_training_table(table, name="t", target="y", choices=ColumnChoices(numeric=("code",)))
    np.testing.assert_array_equal(as_numbers.features["code"], [i % distinct for i in range(ROWS)])
    assert not any("codes" in note for note in as_numbers.notes)


def test_a_code_that_comes_late_makes_codes_of_the_column(write, monkeypatch):
    monkeypatch.setattr("training.data.csv_file._MIN_BLOCK", 1 << 15)
    monkeypatch.setattr("training.data.csv_file._COLUMN_BLOCK", 1)
    codes = [f"{10000 + i // 2}" for i in range(ROWS)] + ["01067"] * 2
    table = read_training_table(read_csv(long_file(write, code=codes, x=range(ROWS + 2))), name="t", target="y")
    assert table.features["code"].to_strings().tolist() == codes


def test_words_after_many_numbers_make_words_of_the_column():
    column = TextColumn()
    column.add(pa.array([f"{i}.5" for i in range(ROWS)]))
    column.add(pa.array(["word"]))
    column.add(pa.array(["1.5"]))
    assert column.finish() is None


@pytest.mark.parametrize("words", [["word"], ["2024-01-01"]])
def test_a_file_in_which_words_come_late_is_read_whole(write, monkeypatch, words):
    monkeypatch.setattr("training.data.csv_file._MIN_BLOCK", 1 << 15)
    monkeypatch.setattr("training.data.csv_file._COLUMN_BLOCK", 1)
    cells = [f"{i}.25" for i in range(ROWS)] + words * 2
    table = read_csv(long_file(write, a=cells, b=range(ROWS + 2)))
    assert table.columns["a"].to_pylist() == cells
    np.testing.assert_array_equal(table.columns["b"].to_numpy(), np.arange(ROWS + 2))


def test_blocks_do_not_tell_in_what_is_read(write, monkeypatch):
    rng = np.random.default_rng(0)
    cells = rng.choice(["u", " v ", "NA", "", '"x, y"', '"two\nlines"'], ROWS)
    path = long_file(write, c=cells, n=rng.integers(0, 9, ROWS))
    whole = columns(read_csv(path))
    monkeypatch.setattr("training.data.csv_file._MIN_BLOCK", 1 << 12)
    monkeypatch.setattr("training.data.csv_file._COLUMN_BLOCK", 1)
    assert columns(read_csv(path)) == whole
    expected = {"u": "u", " v ": "v", "NA": None, "": None, '"x, y"': "x, y", '"two\nlines"': "two\nlines"}
    assert whole["c"] == [expected[cell] for cell in cells]


def test_a_record_longer_than_a_block_is_read(write, monkeypatch):
    monkeypatch.setattr("training.data.csv_file._MIN_BLOCK", 1 << 10)
    monkeypatch.setattr("training.data.csv_file._COLUMN_BLOCK", 1)
    long = "x" * 5_000
    assert columns(read_csv(write(f"a,b\n1,{long}\n2,y\n"))) == {"a": ["1", "2"], "b": [long, "y"]}


def test_a_decimal_comma_is_read_in_a_long_file(write):
    path = write("a;b\n" + "".join(f"{i},5;{i % 3}\n" for i in range(ROWS)))
    np.testing.assert_array_equal(read_csv(path).columns["a"].to_numpy(), np.arange(ROWS) + 0.5)


@pytest.mark.slow
@pytest.mark.parametrize("is_packed", [False, True])
def test_a_large_file_takes_little_more_memory_than_its_columns_as_numbers(tmp_path, is_packed):
    rows, width = 400_000, 10
    values = np.random.default_rng(0).normal(size=(rows, width)).round(6)
    path = tmp_path / "large.csv"
    np.savetxt(path, values, delimiter=",", fmt="%.6f", header=",".join("abcdefghij"), comments="")
    if is_packed:  # the content decides, not the name
        path.write_bytes(gzip.compress(path.read_bytes(), compresslevel=1))
    script = (
        "import resource, pathlib, pyarrow.csv\n"
        "from training.data.csv_file import read_csv\n"
        "from training.data.understanding import read_training_table\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        f"before, path = peak(), pathlib.Path({str(path)!r})\n"
        "read_training_table(read_csv(path), name='t', target='j')\n"
        "print(peak() - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    # Memory that does not grow with the file: blocks being parsed, and Arrow's own threads and pools.
    assert int(run.stdout) < 3 * values.nbytes + 100 * 2**20
