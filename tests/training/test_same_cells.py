"""Training and serving read the same: CSV text, typed value and JSON give the same bits of the encoded row."""

import csv
import json
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.columns.cell_text import BLANKS, category_of
from models.columns.encoding import RowEncoder
from models.errors import DataError, RowError
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.preprocessing import encode, fit_schema
from training.data.source import read_source
from training.data.table import Table
from training.data.understanding import read_training_table

# An independent list of spellings that people consider equal, each with its typed value.
TRUTH = [["true", "True", "TRUE", " true"], ["false", "False", "FALSE\u200b"]]
CODES = [["10115", " 10115 ", "10115.0"], ["7", "7.0", "7\xa0"], ["-3", "-3.0"]]
NAMES = [
    ["red", " red", "red\t", "\ufeffred"],
    ["New York", "New  York", "New\xa0York"],
    ["Köln", "Ko\u0308ln", " Köln"],
    ["Å", "\u212b", "A\u030a"],
]
GAPS = ["", "NA", "null", " NaN ", "\u200b"]
KINDS = {
    "truth": (TRUTH, [True, False]),
    "codes": (CODES, [10115, 7, -3]),
    "names": (NAMES, [None] * 4),
}
CHOICES = ColumnChoices(categorical=("c",), unknown="ignore", keep_constant=True)


def training_table(source, choices=CHOICES):
    return read_training_table(source, name="t", target="y", choices=choices)


def csv_table(cells, header=("c", "n", "y"), choices=CHOICES):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, quoting=csv.QUOTE_ALL)
            writer.writerow(header)
            writer.writerows([cell, i, "ab"[i % 2]] for i, cell in enumerate(cells))
        return training_table(read_csv(path), choices)


def typed_table(array, choices=CHOICES):
    rows = len(array)
    columns = {"c": array, "n": np.arange(rows), "y": ["ab"[i % 2] for i in range(rows)]}
    return training_table(Table.from_arrow(pa.table(columns), source="a table"), choices)


def json_rows(cells):
    return orjson.loads(orjson.dumps([{"n": i, "c": cell} for i, cell in enumerate(cells)]))


def fitted(table):
    rows = np.arange(table.rows)
    schema = fit_schema(table, rows, max_one_hot=2)
    return schema, encode(schema, table, rows)


@st.composite
def the_same_cells(draw):
    """Draws cells in two spellings and, for some kinds, as typed values; two rows have two categories."""
    same, typed = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    has_gaps = draw(st.booleans())
    rows = [0, 1, 0, 1, *draw(st.lists(st.integers(-1 if has_gaps else 0, len(same) - 1), max_size=5))]

    def spelled():
        return [draw(st.sampled_from(GAPS if row < 0 else same[row])) for row in rows]

    # A missing cell is null in JSON and as a typed value.
    in_json = [
        draw(st.sampled_from([*GAPS, None] if row < 0 else [*same[row], *([] if typed[row] is None else [typed[row]])]))
        for row in rows
    ]
    values = None if typed[0] is None else [None if row < 0 else typed[row] for row in rows]
    return spelled(), spelled(), in_json, values


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(the_same_cells())
def test_csv_text_parquet_text_typed_value_and_json_give_the_same_bits(case):
    in_csv, in_parquet, in_json, values = case
    schema, matrix = fitted(csv_table(in_csv))
    encoder = RowEncoder(schema)
    assert encoder.encode(json_rows(in_json)) == matrix.tobytes()
    assert encoder.encode(json_rows(in_csv)) == matrix.tobytes()
    assert encoder.unknown.take() == {}, "no cell of these is unknown"
    tables = [pa.array(in_parquet)]
    if values is not None:
        tables += [pa.array(values), pa.array(pd.Series(values, dtype=object).to_numpy(), from_pandas=True)]
        if not isinstance(values[0], bool):
            tables.append(pa.array(values, pa.float64()))
            tables.append(pa.array(values, pa.float32()))
    for array in tables:
        assert fitted(typed_table(array))[0] == schema
        assert fitted(typed_table(array))[1].tobytes() == matrix.tobytes()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=6), min_size=4))
@pytest.mark.slow
def test_any_text_is_the_same_category_in_a_csv_file_and_in_json(cells):
    if len({category_of(cell) for cell in cells} - {None}) == 0:
        return
    cells = cells * 2  # a column whose categories never repeat would be left out
    schema, matrix = fitted(csv_table(cells))
    assert RowEncoder(schema).encode(json_rows(cells)) == matrix.tobytes()


@pytest.mark.parametrize("blank", [" ", "\t", "\xa0", "\u200b", "\ufeff"], ids=ascii)
def test_a_date_may_have_blanks_around_it_on_both_sides(blank):
    days = ["2024-05-31", "2024-06-01T12:00:00Z", "NA", "2023-01-02"]
    choices = ColumnChoices(date=("c",))
    plain, spaced = (csv_table([f"{around}{day}{around}" for day in days], choices=choices) for around in ("", blank))
    schema, matrix = fitted(plain)
    assert fitted(spaced)[1].tobytes() == matrix.tobytes()
    assert RowEncoder(schema).encode(json_rows([f"{blank}{day}{blank}" for day in days])) == matrix.tobytes()


@pytest.mark.parametrize("gap", [*GAPS, None], ids=ascii)
def test_what_says_missing_is_missing_in_every_kind_of_column(gap):
    for cells, choices in (
        (["1.5", gap, "2.5", "3"], ColumnChoices()),
        (["2024-05-31", gap, "2024-06-01", "2023-01-01"], ColumnChoices()),
        (["a", gap, "b", "a"], ColumnChoices()),
    ):
        schema, matrix = fitted(csv_table(["" if cell is None else cell for cell in cells], choices=choices))
        column = schema.columns[0]
        rows = json_rows([float(cell) if column.kind == "numeric" and cell != gap else cell for cell in cells])
        assert RowEncoder(schema).encode(rows) == matrix.tobytes()
        complete, _ = fitted(csv_table([cell for cell in cells if cell != gap] * 2, choices=choices))
        with pytest.raises(RowError, match="the value is missing, and training saw no missing value"):
            RowEncoder(complete).encode(json_rows([gap]))


def test_a_number_as_text_is_refused_in_a_column_of_numbers_as_the_readme_says():
    schema, _ = fitted(csv_table(["0.1", "0.2", "0.3", "0.4"], choices=ColumnChoices()))
    with pytest.raises(RowError, match=r'"0\.2" is not a number'):
        RowEncoder(schema).encode(json_rows(["0.2"]))


HEADERS = [" age ", "age", "\ufeffage", "age\xa0", "a\u200bge"]


@pytest.mark.parametrize("header", HEADERS, ids=ascii)
@pytest.mark.parametrize("key", HEADERS, ids=ascii)
def test_a_column_is_called_the_same_in_a_header_and_in_json(header, key):
    choices = ColumnChoices(categorical=(key,))
    schema, matrix = fitted(csv_table(["a", "b", "a", "b"], header=(header, "n", "y"), choices=choices))
    assert schema.names == ("age", "n")
    rows = [{key: cell, "n": i} for i, cell in enumerate("abab")]
    assert RowEncoder(schema).encode(rows) == matrix.tobytes()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_columns_name_may_come_in_either_unicode_form(form, tmp_path):
    name = unicodedata.normalize(form, "Größe")
    frame = pd.DataFrame({f" {name}": [1.0, 2.0, 3.0, 4.5], "y": list("abab")})
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv", index=False)
    for source in (frame, tmp_path / "t.parquet", tmp_path / "t.csv"):
        schema, matrix = fitted(training_table(read_source(source), ColumnChoices(numeric=(name,))))
        assert schema.names == (unicodedata.normalize("NFC", "Größe"),)
        for key in ("NFC", "NFD"):
            rows = [{unicodedata.normalize(key, "Größe"): value} for value in (1.0, 2.0, 3.0, 4.5)]
            assert RowEncoder(schema).encode(rows, may_hold_booleans=False) == matrix.tobytes()


def test_two_keys_of_one_column_are_refused():
    schema, _ = fitted(csv_table(["a", "b", "a", "b"]))
    with pytest.raises(RowError, match="another key of this row names column 'c' too") as caught:
        RowEncoder(schema).encode([{"c": "a", " c": "b"}])
    assert [(fault.column, fault.message) for fault in caught.value.faults][1:] == [("n", "this column is missing")]


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(DataError, match=r"column 'é' stands twice in a table"):
        Table.from_arrow(pa.table({"é": [1], "e\u0301": [2]}), source="a table")


def test_two_spellings_in_one_table_are_one_category_with_a_note():
    table = csv_table(["Köln", "Ko\u0308ln", "Bonn", "Bonn"])
    assert table.features["c"].distinct() == ("Bonn", "Köln")
    assert any(r"two ways, such as 'K\xf6ln' and 'Ko\u0308ln'" in note for note in table.notes)
    assert not csv_table(["Köln", "Köln", " Bonn", "Bonn"]).notes


def test_texts_of_a_typed_table_that_say_missing_are_gaps_with_a_note(tmp_path):
    pq.write_table(pa.table({"c": ["a", "NA", " b", "a", None], "y": [1, 2, 3, 4, 5.5]}), tmp_path / "t.parquet")
    table = training_table(read_source(tmp_path / "t.parquet"))
    assert table.features["c"].to_strings().tolist() == ["a", None, "b", "a", None]
    assert any("has 1 cell that say missing ('NA')" in note for note in table.notes)


def test_typed_dates_that_are_read_as_names_are_written_as_json_writes_them():
    texts = ["2024-05-31", "2024-06-01T12:30:00Z"] * 2
    schema, matrix = fitted(csv_table(texts))
    moments = pa.array(np.array([text.removesuffix("Z") for text in texts], dtype="datetime64[us]"))
    for array in (moments, moments.cast(pa.timestamp("ms", "UTC"))):
        assert fitted(typed_table(array))[0] == schema
    assert RowEncoder(schema).encode(json_rows(texts)) == matrix.tobytes()
    days = pa.array(np.array(["2024-05-31", "2024-06-01"] * 2, dtype="datetime64[D]"))
    assert fitted(typed_table(days))[0].columns[0].categories == ("2024-05-31", "2024-06-01")


def test_an_infinite_number_is_no_category():
    with pytest.raises(DataError, match="column 'c' of a table holds an infinite number"):
        typed_table(pa.array([1.0, np.inf, 2.0, 1.0]))


def test_the_blanks_of_arrow_are_those_of_python():
    cells = [f"{blank}a{blank}b{blank}" for blank in BLANKS if blank not in "\r\n"] + ["x"]
    assert csv_table(cells).features["c"].to_strings().tolist() == [category_of(cell) for cell in cells]
    assert json.loads(json.dumps(cells)) == cells
