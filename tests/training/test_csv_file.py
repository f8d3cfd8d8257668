"""CSV files as people have them are read, and what cannot be read is refused with the line at fault."""

import pytest

from models.errors import DataError
from training.data.csv_file import MISSING, read_csv


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
    cells = [*MISSING, "  ", "None", "n/a", "N/A", "-", "none", "0"]
    path = write("a,b\n" + "".join(f"{cell},x\n" for cell in cells))
    expected = [None] * (len(MISSING) + 1) + ["None", "n/a", "N/A", "-", "none", "0"]
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
        ("a,b,a\n1,2,3\n", "column 'a' stands twice in flowers.csv, as column 1 and column 3."),
        (",a\n0,1\n", "column 1 of flowers.csv has no name"),
        ("a,b\n1,2\n3,4,5\n", "flowers.csv: line 3 has 3 cells where the first line has 2."),
        ("a,b\n1,2\n\n3\n", "flowers.csv: line 4 has 1 cell where the first line has 2."),
        ("name,b\nJos\xe9,1\n".encode("latin-1"), "flowers.csv is not UTF-8: line 2 holds the byte 0xe9"),
        (b"PAR1\x00\x00\x15", "flowers.csv is not a text file."),
        (bytes(range(256)), "flowers.csv is not a text file."),
        ('a,b\n1,"open\n2,3\n4,5,6\n', None),
    ],
)
def test_what_is_no_table_is_refused_in_one_sentence(write, content, message):
    path = write(content)
    with pytest.raises(DataError) as refused:
        read_csv(path).column("c")  # an unclosed quote leaves a table of one odd row, which has no such column
    if message is not None:
        assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.csv\."):
        read_csv(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_csv(tmp_path)
