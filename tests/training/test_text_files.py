"""Text files of many kinds: compressed, in other encodings, with other delimiters, comments, lines before the header.

A file that pandas reads with the right arguments is read here without these, or refused with the option to set.
"""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import random
import re
import shlex

import pandas as pd
import pyarrow as pa
import pytest

from models.errors import DataError
from training.cli import build_parser
from training.commands.table import table_of
from training.data.csv_file import read_csv
from training.data.source import read_source
from training.data.text_file import ends_quoted
from training.data.text_format import TextFormat
from training.sources import read_table

FRAME = pd.DataFrame({"größe": [1.5, 2.0, 7.25], "name": ["Zoë, A.", 'the "b"', "c; d|e"], "y": ["ä", "b", "c"]})


def zstd(content):
    return pa.compress(content, "zstd", asbytes=True)


PACKERS = {".gz": gzip.compress, ".zst": zstd, ".bz2": bz2.compress, ".xz": lzma.compress}


def columns(table):
    return {name: cells.to_pylist() for name, cells in table.columns.items()}


def texts_of(frame):
    return {name: [str(cell) for cell in frame[name]] for name in frame}


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("packing", list(PACKERS))
def test_a_packed_file_is_the_table_that_it_holds(tmp_path, ending, packing):
    delimiter = "\t" if ending == ".tsv" else ","
    path = tmp_path / f"flowers{ending}{packing}"
    content = FRAME.to_csv(index=False, sep=delimiter).encode()
    path.write_bytes(
        PACKERS[packing](content[:20]) + PACKERS[packing](content[20:])
    )  # two gzip members, as `cat` makes
    assert columns(read_source(path)) == texts_of(FRAME)


@pytest.mark.parametrize(("name", "pack"), [("flowers.csv", gzip.compress), ("flowers.csv.gz", bytes)])
def test_the_content_tells_the_packing_and_not_the_name(tmp_path, name, pack):
    path = tmp_path / name
    path.write_bytes(pack(FRAME.to_csv(index=False).encode()))
    assert columns(read_source(path)) == texts_of(FRAME)


@pytest.mark.parametrize("packing", list(PACKERS))
def test_a_packed_file_that_is_cut_off_is_refused_rather_than_read_in_part(tmp_path, packing):
    path = tmp_path / f"flowers.csv{packing}"
    rows = "a,b\n" + "".join(f"{i},{i * 7919 % 1013}\n" for i in range(5_000))
    path.write_bytes(PACKERS[packing](rows.encode())[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_source(path)


def test_a_model_of_a_packed_file_is_called_as_the_file_is(tmp_path):
    path = tmp_path / "my flowers.csv.gz"
    path.write_bytes(gzip.compress(b"a,b,y\n" + b"1,3,0\n2,5,1\n3,4,0\n" * 20))
    table, _ = read_table(path, target="y", settings={})
    assert table.name == "my-flowers"


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-16-le", "utf-16-be", "shift_jis"])
def test_another_encoding_is_refused_with_the_option_and_read_with_it(write, encoding):
    frame = FRAME if encoding != "shift_jis" else FRAME.map(lambda cell: "東京").rename(columns={"größe": "名前"})
    path = write(frame.to_csv(index=False).encode(encoding))
    with pytest.raises(DataError, match="--encoding") as refused:
        read_csv(path)
    assert "flowers.csv is not UTF-8" in str(refused.value)
    assert columns(read_csv(path, text_format=TextFormat(encoding=encoding))) == texts_of(frame)


def test_the_refusal_shows_the_line_and_how_the_word_would_be_read(write):
    path = write("name,b\nAnna,1\nJosé,1\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"line 3 holds the byte 0xe9, which cp1252 .* reads as 'José'"):
        read_csv(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_tells_the_encoding(write, encoding):
    path = write(FRAME.to_csv(index=False).encode(encoding))
    assert columns(read_csv(path)) == texts_of(FRAME)
    assert columns(read_csv(path, text_format=TextFormat(comment="#"))) == texts_of(FRAME)


def test_an_encoding_that_the_bytes_contradict_is_refused_or_told(write):
    marked = write("größe,b\n1,2\n".encode("utf-8-sig"), "marked.csv")
    with pytest.raises(DataError, match="byte order mark of UTF-8, but --encoding says latin-1"):
        read_csv(marked, text_format=TextFormat(encoding="latin-1"))
    plain = read_csv(write("größe,b\n1,2\n"), text_format=TextFormat(encoding="cp1252"))
    assert ["is sound UTF-8, but was read as cp1252" in note for note in plain.notes] == [True]


def test_utf_16_without_a_mark_is_read_when_it_is_named_and_nothing_else_is(write):
    path = write(FRAME.to_csv(index=False).encode("utf-16-be"))
    assert columns(read_csv(path, text_format=TextFormat(encoding="utf-16"))) == texts_of(FRAME)
    with pytest.raises(DataError, match=r"is not utf-16: .*name another encoding \(--encoding\)"):
        read_csv(write("größe,b\n1,2\n"), text_format=TextFormat(encoding="utf-16"))


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "rot13", "", "a\0b"])
def test_what_is_no_encoding_is_refused(encoding):
    with pytest.raises(DataError, match="is not a character encoding"):
        TextFormat(encoding=encoding)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_every_delimiter_is_found_whatever_the_cells_hold(write, delimiter, quoting):
    path = write(FRAME.to_csv(index=False, sep=delimiter, quoting=quoting))
    assert columns(read_csv(path)) == texts_of(FRAME)


def test_a_delimiter_that_divides_only_some_lines_is_text(write):
    path = write("genres;year\nAction|Comedy;1999\nDrama;2001,5\nDrama|War, Sea;2002\n")
    assert list(columns(read_csv(path))) == ["genres", "year"]


def test_two_readings_are_refused_and_either_is_taken_when_named(write):
    path = write("price, EUR;count\n1,5;2\n2,5;3\n")
    with pytest.raises(DataError, match="by ',' into 2 cells or by ';' into 2 cells") as refused:
        read_csv(path)
    for option, names in (("--delimiter ,", ["price", "EUR;count"]), ("--delimiter ';'", ["price, EUR", "count"])):
        assert option in str(refused.value)
        assert list(read_csv(path, text_format=typed(option)).columns) == names


def typed(options):
    """Parses options as a message prints these, with the command line's parser."""
    parsed = build_parser({}).parse_args(["inspect", "t.csv", *shlex.split(options)])
    given = table_of(parsed)
    return TextFormat(**{name: given[name] for name in ("delimiter", "encoding", "skip_lines", "comment")})


BLANKS = {
    "runs": "x   y z\n1 2  3\n4  5   6\n",
    "right-aligned": "  x  y    z\n  1  2    3\n 40  5  600\n",
    "tabs among them": "x \ty z\n1\t 2 3\n4 5  6  \n",
    "decimal commas": "x y z\n1,5 2 3\n2,5 2 3\n",
    "inches": 'x y z\n5" 2 6"\n"2 ""a""" "b  c" 3\n',
}


@pytest.mark.parametrize("content", BLANKS.values(), ids=BLANKS)
def test_runs_of_blanks_divide_cells_as_pandas_has_them(write, content):
    path = write(content, "t.txt")
    expected = pd.read_csv(path, sep=r"\s+", dtype=str)
    assert columns(read_source(path)) == texts_of(expected)
    assert columns(read_source(path, text_format=typed("--delimiter blank"))) == texts_of(expected)


def test_the_table_that_r_writes_has_row_names_without_a_name(write):
    path = write('"x" "y z"\n"1" 5.1 "Anna  Lee"\n"2" 4.0 "Bob"\n', "t.txt")
    table = read_source(path)
    assert columns(table) == {"x": ["5.1", "4.0"], "y z": ["Anna  Lee", "Bob"]}
    assert ["row" in note for note in table.notes] == [True]
    assert [table.locate(row) for row in range(2)] == ["line 2", "line 3"]


BEFORE = {
    "a title": ("Sales of March\n\na,b,c\n1,2,3\n4,5,6\n", "--skip-lines 2", 2),
    "comments": ("# made by x, on\n# Monday\na,b,c\n1,2,3\n4,5,6\n", "--comment '#'", 2),
    "one in between": ("a,b,c\n1,2,3\n# recalibrated\n4,5,6\n", "--comment '#'", 0),
    "per cent": ("% made by x\na\tb\n1\t2\n3\t4\n", "--comment %", 1),
    "blanks": ("Experiment of the third of March\na b c\n1 2 3\n4 5 6\n", "--skip-lines 1", 1),
}


@pytest.mark.parametrize(("content", "option", "skipped"), BEFORE.values(), ids=BEFORE)
def test_lines_that_are_no_rows_are_named_with_the_option_that_passes_over_them(write, content, option, skipped):
    path = write(content, "t.txt")
    with pytest.raises(DataError) as refused:
        read_source(path)
    assert f"({option})" in str(refused.value)
    expected = pd.read_csv(path, sep=None, engine="python", skiprows=skipped, comment=option[-2:].strip("'") or None)
    table = read_source(path, text_format=typed(option))
    assert columns(table) == texts_of(expected)
    assert table.locate(table.rows - 1) == f"line {len(content.splitlines())}"


def test_a_header_below_lines_of_as_many_cells_is_hinted_at(write):
    path = write("Company,ACME,,\nDate,2024,,\nid,n,x,y\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"has no name.*--skip-lines N"):
        read_csv(path)
    assert columns(read_csv(path, text_format=typed("--skip-lines 2"))) == {
        "id": ["1"],
        "n": ["2"],
        "x": ["3"],
        "y": ["4"],
    }


def test_a_first_line_of_numbers_is_told_unless_columns_are_counted(write):
    assert ["all numbers (5.1, 3.5)" in note for note in read_csv(write("5.1,3.5\n4.9,3.0\n")).notes] == [True]
    assert read_csv(write("0,1,2\n4.9,3.0,7\n")).notes == ()


def test_comments_within_quotes_are_text(write):
    path = write('a,b\n1,"x\n# y"\n#2,z\n3,"say ""#""\n#"\n')
    expected = {"a": ["1", "3"], "b": ["x\n# y", 'say "#"\n#']}
    assert columns(read_csv(path, text_format=TextFormat(comment="#"))) == expected


@pytest.mark.parametrize("line", ['a,"b', 'a,"b""', '"a"" ,b', 'a,"b",c', 'a,5" pipe', 'a,"b""c"', '"', '""', "plain"])
def test_whether_a_quote_is_open_is_what_the_csv_module_finds(line):
    is_open = len(next(csv.reader([line + "\n", "second\n"]))[-1].splitlines()) > 1
    assert ends_quoted(line + "\n", False) == is_open


STRAY = {
    "open to the end": (
        'a,b\n1,x\n2,"y\n3,z\n4,w\n',
        r"on line 3 \('2,\"y'\) is still open at the end of the file, line 5",
    ),
    "closed by another": ('a,b\n1,x\n2,"y\n3,z\n4,"w\n5,v\n', r"on line 3 \('2,\"y'\) is open until line 5"),
}


@pytest.mark.parametrize(("content", "message"), STRAY.values(), ids=STRAY)
def test_a_stray_quote_in_which_rows_would_be_lost_is_refused(write, content, message):
    with pytest.raises(DataError, match=message):
        read_csv(write(content))


def test_quotes_that_are_no_cell_s_are_text(write):
    path = write('size,b\n5" pipe,"two\nlines"\n6" pipe,z\n')
    assert columns(read_csv(path)) == {"size": ['5" pipe', '6" pipe'], "b": ["two\nlines", "z"]}


def test_a_long_cell_does_not_hide_a_fault_behind_it(write):
    long, limit = "x" * 300_000, csv.field_size_limit()
    with pytest.raises(DataError, match="line 4 has 3 cells where the first line has 2"):
        read_csv(write(f'a,b\n1,"{long}"\n2,3\n2,3,4\n'))
    table = read_csv(write(f'a,b\n1,"{long}"\n2,word\n'))
    assert table.locate(1) == "line 3"
    assert csv.field_size_limit() == limit < 300_000  # other code of the process relies on it


@pytest.mark.parametrize("hint", ["sep=;", '"sep=;"', "sep=;;;"])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(write, hint):
    table = read_csv(write(f"{hint}\na, b;c\n1,5;2\n3,5;4\n"))
    assert columns(table) == {"a, b": ["1,5", "3,5"], "c": ["2", "4"]}
    assert table.locate(1) == "line 4"


OTHERS = {
    "a web page": ("<!DOCTYPE html>\n<html>\n", "begins as a web page does"),
    "JSON": ('[{"a": 1, "b": 2},\n {"a": 3, "b": 4}]\n', "begins as a JSON file does"),
    "JSON lines": ('{"a": 1, "b": 2}\n{"a": 3, "b": 4}\n', "begins as a JSON file does"),
    "a workbook": (b"PK\x03\x04" + bytes(60), "begins as a zip archive or an Excel workbook does"),
    "a zero byte": ("a,b\n1,2\n3,\0\n", "line 3 holds a zero byte"),
    "a comment that divides": ("a;b\n1;2\n", "no comment can begin with ';'"),
}


@pytest.mark.parametrize(("content", "message"), OTHERS.values(), ids=OTHERS)
def test_what_only_is_called_a_csv_file_is_refused(write, content, message):
    with pytest.raises(DataError, match=re.escape(message)):
        read_csv(write(content), text_format=TextFormat(comment=";"))


def test_control_characters_that_windows_has_letters_for_are_told(write):
    path = write("a,b\n1,5 \u20ac\n".encode("cp1252"))
    assert ["cp1252" in note for note in read_csv(path, text_format=TextFormat(encoding="latin-1")).notes] == [True]
    assert columns(read_csv(path, text_format=TextFormat(encoding="cp1252")))["b"] == ["5 \u20ac"]


@pytest.mark.parametrize("rare", [":", "~", "^", "\x01"])
def test_a_rare_delimiter_is_named_with_the_option_that_takes_it(write, rare):
    path = write(FRAME.to_csv(index=False, sep=rare))
    with pytest.raises(DataError, match="divides all lines into 3 cells") as refused:
        read_csv(path)
    option = re.search(r"\((--delimiter .*)\)\.", str(refused.value))[1]
    typed_by_shell = option if rare.isprintable() else option.replace("$'\\x01'", "'\x01'")
    assert columns(read_csv(path, text_format=typed(typed_by_shell))) == texts_of(FRAME)


@pytest.mark.parametrize("delimiter", [",", ";", "|"])
def test_a_quote_behind_blanks_begins_a_cell_as_was_meant(write, delimiter):
    text = 'a, "b",c\n1, "x, y; z|", "u"\n2,  "he said, ""no""",v\n" 3",plain," w"\n'
    path = write("".join(text.replace(", ", f"{delimiter} ").replace(",", delimiter)))
    expected = pd.read_csv(path, sep=delimiter, skipinitialspace=True, dtype=str)
    read = columns(read_csv(path))
    assert read == {name: [cell.strip() for cell in cells] for name, cells in texts_of(expected).items()}


CELLS = ["1", "2.5", "a", '"x y"', '""', "", '"a""b"', '"l\nm, ""k"""', 'say 5"', ' "k, w"', '"a"b', "#c"]


@pytest.mark.parametrize("seed", range(200))
def test_a_table_at_random_is_what_the_csv_module_reads_or_is_refused(write, seed):
    rng = random.Random(seed)
    delimiter, width, end = rng.choice(",;|\t"), rng.randint(1, 4), rng.choice(["\n", "\r\n", "\r"])
    rows = [delimiter.join(rng.choice(CELLS) for _ in range(width)) for _ in range(rng.randint(1, 8))]
    text = end.join([delimiter.join("abcd"[:width]), *rows]) + rng.choice(["", end, end * 2])
    path = write(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    records = [record for record in reader if record]
    expected = {name: [record[i].strip() or None for record in records[1:]] for i, name in enumerate(records[0])}
    with contextlib.suppress(DataError):
        table = read_csv(path, text_format=rng.choice([None, TextFormat(delimiter=delimiter)]))
        assert columns(table) == expected
        lines = [int(table.locate(row).removeprefix("line ")) for row in range(table.rows)]
        assert lines == sorted(set(lines))


@pytest.mark.parametrize("seed", range(300))
def test_bytes_at_random_end_in_a_table_or_a_sentence(write, seed):
    rng = random.Random(seed)
    some = rng.choice(['a1,,;|\t  ""\n\n\r#.é\u2028\x0b', "AB,\n\xff\xfe\xef\xbb\xbf\x1f\x8b\0\xe9\xb5/\xfdBZh"])
    text = "".join(rng.choice(some) for _ in range(rng.randint(1, 60)))
    path = write(text.encode(rng.choice(["utf-8", "latin-1", "utf-16"]), errors="ignore"))
    options = {
        "comment": rng.choice([None, "#"]),
        "skip_lines": rng.randint(0, 2),
        "encoding": rng.choice([None, "cp1252", "latin-1", "utf-16", "utf-16-le"]),
        "delimiter": rng.choice([None, ",", " ", "|", "1"]),
    }
    try:
        table = read_source(path, text_format=TextFormat(**options))
    except DataError as refused:
        assert "\n" not in str(refused)  # noqa: PT017  # most seeds are refused, but not all
    else:
        assert table.locate(table.rows - 1).startswith("line ")
