"""CSV bodies give the rows that pandas reads, encoded as from JSON, at any division into slices."""

from __future__ import annotations

import csv
import io
import random
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.errors import InvalidRequest, TooLarge
from service.http.wire.csv_slices import CsvRequest
from service.large_reading import LargeReading

CITIES = ("Köln", "New York", 'say "hi"', "a,b;c\td|e", "two\nlines")
ENCODER = RowEncoder(
    Schema(
        columns=(
            NumericColumn(name="size", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0, missing="indicator"),
            NumericColumn(name="año", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0, origin=2000.0),
            CategoricalColumn(name="city", categories=CITIES, unknown="ignore"),
            CategoricalColumn(name="flag", categories=("false", "true")),
            DateColumn(name="day", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, missing="mean"),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    )
)
NUMERIC = ("size", "año")


def make_table(rows: int) -> pd.DataFrame:
    """Makes a table of texts with the model's columns and one more."""
    dice = random.Random(rows)
    return pd.DataFrame(
        {
            "id": [f"row {i}" for i in range(rows)],
            "day": [dice.choice(["", "NA", f"202{i % 5}-01-{1 + i % 28:02}"]) for i in range(rows)],
            "city": [dice.choice(CITIES) for _ in range(rows)],
            "size": [dice.choice(["", "+1", "-2.5e-3", ".5", "7.", " 3 ", str(dice.gauss(0, 1))]) for _ in range(rows)],
            "flag": [dice.choice(["True", "FALSE", " true"]) for _ in range(rows)],
            "año": [str(dice.randint(1990, 2030)) for _ in range(rows)],
        }
    )


def read(body: bytes, *, most_rows: int = 10**6, encoder: RowEncoder = ENCODER) -> tuple[bytes, LargeReading]:
    reading = LargeReading(CsvRequest(body, "m", encoder), encoder, most_rows=most_rows)
    done = sum(size or 0 for size in reading.steps())
    assert done <= len(body)
    assert reading.rows is not None
    return b"".join(reading.rows.cut(0, reading.rows.rows)), reading


def as_json_rows(body: bytes, delimiter: str) -> list[dict[str, Any]]:
    """Returns the body's rows by pandas' reading, in the form that a client would send in JSON."""
    frame = pd.read_csv(io.BytesIO(body), sep=delimiter, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    rows = frame[list(ENCODER.schema.names)].to_dict("records")
    return [
        {name: float(cell) if name in NUMERIC and cell.strip() else cell for name, cell in row.items()} for row in rows
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_rows_are_those_that_json_would_bring(delimiter: str, line_end: str) -> None:
    text = make_table(3000).to_csv(sep=delimiter, index=False, lineterminator=line_end)
    body = text.encode()
    encoded, reading = read(b"\xef\xbb\xbf" + body)
    assert reading.model == "m"
    assert reading.unknown.counts == {}
    assert encoded == ENCODER.encode(as_json_rows(body, delimiter))


def test_blank_lines_and_a_missing_line_end_change_nothing() -> None:
    body = make_table(50).assign(city="Köln").to_csv(index=False).encode()
    spaced = b"\n\n" + body.rstrip().replace(b"\n", b"\n\n")
    assert len(read(body)[0]) == 50 * ENCODER.width * 4
    assert read(spaced)[0] == read(body)[0]


LONE = NumericColumn(name="size", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0, missing="indicator")
LONE_ENCODER = RowEncoder(Schema(columns=(LONE,), target=ClassTarget(name="y", labels=("no", "yes"))))


@given(
    st.lists(st.sampled_from(["", "1.5", "-2", '""', " "]), min_size=1, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
@example([""] * 5000 + ["1.5"] + [""] * 5000, "\n", True)  # several slices
def test_an_empty_line_of_a_table_of_one_column_is_a_row_without_a_value(
    cells: list[str], line_end: str, has_last_end: bool
) -> None:
    text = line_end.join(["size", *cells]) + (line_end if has_last_end or not cells[-1] else "")
    table = pd.read_csv(io.StringIO(text), skip_blank_lines=False)  # a reader that knows nothing of this one
    assert len(table) == len(cells)
    rows = [[None if pd.isna(cell) else float(cell)] for cell in pd.to_numeric(table["size"], errors="coerce")]
    assert read(text.encode(), encoder=LONE_ENCODER)[0] == LONE_ENCODER.encode(rows)


def test_an_empty_line_is_refused_by_row_where_the_only_column_has_no_gaps() -> None:
    column = NumericColumn(name="size", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0)
    encoder = RowEncoder(Schema(columns=(column,), target=ClassTarget(name="y", labels=("no", "yes"))))
    with pytest.raises(RowError) as refusal:
        read(b"size\n1\n\n3\n", encoder=encoder)
    assert [(fault.row, fault.column) for fault in refusal.value.faults] == [(1, "size")]
    assert len(read(b"\n\nsize\n1\n3\n", encoder=encoder)[0]) == 2 * 4, "lines above the names are no rows"


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(garbage: bytes) -> None:
    head = b"size,a\xc3\xb1o,city,flag,day\n1,2000,x,true,2024-01-01\n"
    for body in (garbage, head + garbage):
        try:
            read(body)
        except (InvalidRequest, RowError):
            continue


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "lacks"),
        (b"size,city\n1,x\n", "lacks 'año', 'flag', 'day'"),
        (b"1,2000,x,true,2024-01-01\n1,2000,x,true,2024-01-01\n", "has to name the columns"),
        ("size,año,city,flag,day,size\n1,2,x,true,,1\n".encode(), "Column 'size' stands twice"),
        ("size,año,city,flag,day\n".encode(), "no rows"),
        ("size,año,city,flag,day\n1,2000,\xff,true,\n".encode("latin-1"), "line 1: the byte 0xf1 is not UTF-8"),
        ("size,año,city,flag,day\n1,2000,".encode() + b"x" * 300_000, "a line of more than"),
        ('size,año,city,flag,day\n1,2000,"x,true,\n'.encode(), "not CSV"),
        ('size,año,city,flag,day\n1,2000,"x\n",true,\n'.encode() + b'"x\n",' * 5_000, "line 4100: a row of more than"),
        (
            "size,año,city,flag,day\n".encode() + (b'"' + b"x" * 9_000 + b'\n",') * 30,
            "a row of more than 262,144 bytes",
        ),
    ],
)
def test_what_is_no_table_of_the_models_columns_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(body)
    assert said in str(refusal.value)


def test_the_row_and_column_at_fault_are_told() -> None:
    table = make_table(2000).assign(city="Köln")
    table.loc[1234, "año"] = "4,06"
    with pytest.raises(RowError) as refusal:
        read(table.to_csv(index=False).encode())
    [fault] = refusal.value.faults
    assert (fault.row, fault.column) == (1234, "año")
    assert "4,06" in fault.message


def test_a_line_of_another_width_is_told_by_row_and_line() -> None:
    with pytest.raises(RowError) as refusal:
        read("size,año,city,flag,day\n1,2000,Köln,true,\n1,2000,Köln\n".encode())
    [fault] = refusal.value.faults
    assert (fault.row, fault.column) == (1, None)
    assert fault.message == "line 3 has 3 cells where the first line has 5"


@pytest.mark.parametrize("cell", ["1_000", "nan", "NaN", "inf", "0x10", "١", "1 000", "--1"])
def test_numbers_are_those_that_training_reads(cell: str) -> None:
    body = f"size,año,city,flag,day\n{cell},2000,Köln,true,\n".encode()
    if cell in ("nan", "NaN"):  # a text for missing, as in a training table
        assert read(body)[0] == ENCODER.encode([[None, 2000, "Köln", True, None]])
    else:
        with pytest.raises(RowError):
            read(body)


def test_a_point_that_may_divide_thousands_is_refused_and_not_guessed() -> None:
    head = "size;año;city;flag;day\n"
    with pytest.raises(RowError) as refusal:
        read(f"{head}1;2000;Köln;true;\n8.180;2000;Köln;true;\n".encode())
    [fault] = refusal.value.faults
    assert (fault.row, fault.column) == (1, "size")
    assert '"8.180" may mean 8180 or 8.18' in fault.message
    with pytest.raises(RowError, match=r"may mean 8180 or 8\.18"):  # neither blanks nor a word show a decimal point
        read(f"{head}\u00a08.180;2000;Köln;true;\nn.a.;2000;Köln;true;\n".encode())
    decimal = f"{head}1.5;2000;Köln;true;\n8.180;2000;Köln;true;\n0.125;2000;Köln;true;\n"
    expected = ENCODER.encode([[size, 2000, "Köln", True, None] for size in (1.5, 8.18, 0.125)])
    assert read(decimal.encode())[0] == expected, "the column shows a decimal point"
    assert read(decimal.replace(";", ",").encode())[0] == expected


def test_more_rows_than_allowed_are_refused_while_they_are_read() -> None:
    body = make_table(3000).to_csv(index=False).encode()
    with pytest.raises(TooLarge):
        read(body, most_rows=100)


def test_a_cell_of_nearly_256_kib_is_read() -> None:
    body = make_table(2)
    body.loc[0, "id"] = "x" * 200_000
    assert read(body.to_csv(index=False).encode())[0] == read(make_table(2).to_csv(index=False).encode())[0]


def test_quoted_cells_are_those_of_the_csv_module() -> None:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(ENCODER.schema.names)
    writer.writerows([[1, 2000, city, "true", ""] for city in CITIES])
    expected = ENCODER.encode([[1, 2000, city, True, None] for city in CITIES])
    got = read(out.getvalue().encode())[0]
    assert np.array_equal(np.frombuffer(got, "<f4"), np.frombuffer(expected, "<f4"))
