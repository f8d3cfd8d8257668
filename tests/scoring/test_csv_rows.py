"""CSV files: `axon score` takes and refuses the numbers and quotes that the server takes and refuses."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import make_checkpoint, numeric

import axon
from axon.cli import main
from models.columns.column import NumericColumn
from models.columns.encoding import RowEncoder
from models.columns.schema import ClassTarget, Schema
from models.errors import RowError
from models.store import Store
from scoring.line_count import LineCount
from service.errors import InvalidRequest
from service.http.wire.csv_slices import CsvRequest

SIZE = NumericColumn(name="size", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0, missing="indicator")
SCHEMA = Schema(columns=(SIZE, numeric("age")), target=ClassTarget(name="kind", labels=("red", "green")))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("csv") / "store")
    store.publish("m", make_checkpoint(SCHEMA, 4))
    return store


class Scoring:
    """`axon score` on texts.

    Args:
        folder: folder of the files.
        store: store with the model `m`.
        told: capture of what the command writes.
    """

    def __init__(self, folder: Path, store: Store, told: pytest.CaptureFixture[str]) -> None:
        self._folder, self._store, self._told = folder, store, told
        self._runs = 0

    def refusal(self, text: str) -> str | None:
        """Returns the refusal of a file; None for a file that is scored."""
        code, error = self._run(text)
        assert (code == 2) == error.startswith("error: ")
        return error.strip() if code else None

    def answers(self, text: str, errors: str, keep: str) -> tuple[pd.DataFrame, list[tuple[str, str, str]]]:
        """Returns the answers, and row, column and reason of each row without an answer."""
        code, error = self._run(text, "--errors", errors, "--keep", keep)
        assert code == 0, error
        listed: list[tuple[str, str, str]] = []
        for path in (self._out / "_axon/faults").glob("*.csv"):
            with path.open(newline="") as file:
                listed += [(row["row"], row["column"], row["reason"]) for row in csv.DictReader(file)]
        return pd.read_parquet(self._out), listed

    def has_answers(self) -> bool:
        """Returns True if the last run finished a part."""
        return any(self._out.glob("*.parquet"))

    @property
    def _out(self) -> Path:
        return self._folder / f"out-{self._runs}"

    def _run(self, text: str, *options: str) -> tuple[int, str]:
        self._runs += 1
        source = self._folder / "rows.csv"
        source.write_text(text, newline="")
        arguments = ["--model", "m", "--store", str(self._store.root), "--out", str(self._out)]
        code: int = main(["score", str(source), *arguments, *options])
        return code, self._told.readouterr().err


@pytest.fixture
def scoring(tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]) -> Scoring:
    return Scoring(tmp_path, store, capsys)


def test_names_with_blanks_are_tidied_beside_columns_that_are_there_twice(scoring: Scoring) -> None:
    answers, _ = scoring.answers(" age , size ,,\n1,2,,\n3,4,,\n", "refuse", "age")
    assert answers["age"].tolist() == ["1", "3"]
    assert "'age' twice" in (scoring.refusal("age,size, age \n1,2,3\n") or "")


def test_a_model_with_blanks_in_the_names_of_its_columns_takes_the_table_that_it_was_trained_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pandas reads the first line `a, b` as `a` and ` b`, and a pipeline that is imported keeps these names."""
    store = Store(tmp_path / "store")
    store.publish("m", make_checkpoint(Schema(columns=(numeric("a"), numeric(" b")), target=SCHEMA.target), 4))
    expected = axon.load("m", store=store).predict_proba([[1.0, 2.0], [0.5, -1.0]])
    (tmp_path / "rows.csv").write_text("a, b\n1,2\n0.5,-1\n")
    pq.write_table(pa.table({"a": [1.0, 0.5], " b": [2.0, -1.0]}), tmp_path / "rows.parquet")
    for kind in ("csv", "parquet"):
        for command in ("score", "predict"):
            out = tmp_path / f"{command}-{kind}.parquet"
            arguments = [str(tmp_path / f"rows.{kind}"), "--model", "m", "--store", str(store.root), "--out", str(out)]
            assert main([command, *arguments]) == 0, capsys.readouterr().err
            found = pq.read_table(out)
            np.testing.assert_allclose(found["probability red"].to_numpy(), expected[:, 0], rtol=1e-5)


def fault_of_the_server(text: str) -> Any:
    """Returns the first fault that the server finds in a body; None for a body that is answered."""
    encoder = RowEncoder(SCHEMA)
    try:
        for rows in CsvRequest(text.encode(), "m", encoder).slices():
            encoder.encode(rows or [])
    except RowError as error:
        return error.faults[0]
    return None


SIZES = {
    "thousands": ["8.180", "12.500"],
    "thousands below another number": ["7", "8.180"],
    "thousands with blanks and a sign": ["1", " -8.180\u00a0"],
    "millions": ["1.234.567"],
    "decimals": ["8.18", "8.180", "9.250"],
    "a number below one": ["0.125", "8.180"],
    "decimals after thousands": ["8.180", "8.18"],
    "a word with a point": ["8.180", "n.a."],
    "no points": ["8180", "3"],
    "gaps": ["", "NA", "8.180"],
}


@pytest.mark.parametrize("delimiter", [";", ",", "\t"])
@pytest.mark.parametrize("name", SIZES)
def test_a_number_is_refused_where_the_server_refuses_it(name: str, delimiter: str, scoring: Scoring) -> None:
    lines = [delimiter.join(("size", "store", "age", "profit"))]
    lines += [delimiter.join((size, "A", "4", "5" if delimiter == "," else "4,5")) for size in SIZES[name]]
    text = "\n".join(lines) + "\n"
    fault, refusal = fault_of_the_server(text), scoring.refusal(text)
    if fault is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert f"rows.csv: row {fault.row}, column {fault.column!r}: {fault.message}" in refusal
    if name.startswith("thousands") and delimiter == ";" and "sign" not in name:
        assert "8180 or 8.18 where semicolons divide cells: divide them by commas" in str(refusal)
        assert "--errors skip" in str(refusal)


@pytest.mark.parametrize("errors", ["skip", "null"])
def test_rows_with_two_readings_are_left_out_or_null(errors: str, scoring: Scoring) -> None:
    sizes = ["7", "8.180", "x", "9.500", "", "11"]
    text = "id;size;age\n" + "".join(f"{i};{size};{'' if i == 5 else i / 4}\n" for i, size in enumerate(sizes))
    answers, listed = scoring.answers(text, errors, "id")
    sound = [0, 4]
    if errors == "skip":
        assert answers["id"].astype(int).tolist() == sound
    else:
        assert answers["prediction"].notna().tolist() == [i in sound for i in range(6)]
    assert [(row, column) for row, column, _ in listed] == [("1", "size"), ("2", "size"), ("3", "size"), ("5", "age")]
    for (_, _, reason), said in zip(listed, ["8180 or 8.18", '"x" is not', "9500 or 9.5", "missing"], strict=True):
        assert said in reason


def test_a_decimal_point_of_an_earlier_batch_counts(scoring: Scoring) -> None:
    text = "note;size;age\n;1.5;1\n" + f"{'x' * 1_000};8.180;1\n" * 6_000  # a batch has 4 MB
    assert scoring.refusal(text) is None
    late = text.replace(";1.5;", ";1;") + ";1.5;1\n"
    assert "rows.csv: row 1, column 'size'" in str(scoring.refusal(late))


STRAY = {
    "closed by the quote of a later row": ('1,"abc,5,1\n2,def,6,1\n3,"x,7,1\n4,y,8,1\n', 2, 4),
    "closed by a later row's end": ('1,a,5,1\n2,"b,6,1\n3,c,7,1\n4,d","8,1\n', 3, 5),
    "below cells of several lines": ('1,"a\nb",5,1\n2,"c\n\nd",6,1\n3,"e,7,1\n4,f,8,1\n5,"g,9,1\n', 7, 9),
}


def test_a_quote_that_is_never_closed_is_refused_by_line(scoring: Scoring) -> None:
    text = 'size,age,name\n5,1,a\n6,1,"b\n7,1,c\n8,1,d\n'
    with pytest.raises(InvalidRequest, match="is not CSV"):
        fault_of_the_server(text)
    refusal = str(scoring.refusal(text))
    assert "on line 3 ('6,1,\"b') is still open at the end of the file, line 5: take the quote out" in refusal


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=repr)
@pytest.mark.parametrize("name", STRAY)
def test_a_stray_quote_that_swallows_rows_is_refused_by_line(name: str, ends: str, scoring: Scoring) -> None:
    rows, first, last = STRAY[name]
    text = ("id,name,size,age\n" + rows).replace("\n", ends)
    with pytest.raises(InvalidRequest, match="is not CSV"):  # the server refuses it, too
        fault_of_the_server(text)
    refusal = str(scoring.refusal(text))
    assert f"rows.csv: a quote that begins a cell on line {first} (" in refusal
    assert f"line {last}: take the quote out, or close the cell." in refusal
    assert not scoring.has_answers()


def test_a_quote_that_swallows_megabytes_is_refused_without_reading_them_all(scoring: Scoring) -> None:
    text = 'id,name,size,age\n1,"a,5,1\n' + f"2,{'b' * 1_000},6,1\n" * 12_000
    refusal = str(scoring.refusal(text))
    assert "rows.csv: a quote that begins a cell on line 2 ('1,\"a,5,1') is still open on line 8333:" in refusal


SOUND = {
    "no quotes": "1,a,5,1\n2,b,6,1\n",
    "no end of the last line": "1,a,5,1\n2,b,6,1",
    "empty lines": "\n1,a,5,1\n\n\n2,b,6,1\n\n",
    "cells of several lines": '1,"a\nb",5,1\n2,"c\n\n,d",6,1\n',
    "quotes in quotes": '1,"say ""a""",5,1\n2,"""b""\n""",6,1\n',
    "inches": '1,6" pipe,5,1\n2,8" pipe,6,1\n',
    "quotes around all cells": '"1","a","5","1"\n"2","b","6","1"\n',
}


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=repr)
@pytest.mark.parametrize("name", SOUND)
def test_every_record_of_a_sound_file_is_answered(name: str, ends: str, scoring: Scoring) -> None:
    text = ("id,name,size,age\n" + SOUND[name]).replace("\n", ends)
    answers, listed = scoring.answers(text, "null", "id,name")
    records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    assert answers[["id", "name"]].to_numpy().tolist() == [record[:2] for record in records[1:]]
    assert not listed


TEXTS = st.lists(st.sampled_from(["a", ",", "", "\n", "\n", "\r\n", '"', '"', '""'])).map("".join)


def read_in_pieces(text: str, size: int, *, counts_empty: bool = True) -> LineCount:
    counted = LineCount(pa.BufferReader(text.encode()), delimiter=",", counts_empty=counts_empty)
    while counted.read(size):
        pass
    return counted


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_lines_are_counted_in_pieces_of_any_size(text: str, size: int) -> None:
    lines = text.replace("\r\n", "\n").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    for counts_empty in (True, False):
        counted = read_in_pieces(text, size, counts_empty=counts_empty)
        assert counted.lines == sum(counts_empty or line != "" for line in lines)


@settings(max_examples=100, deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_a_text_without_stray_quotes_is_one_that_the_csv_module_reads_strictly(text: str, size: int) -> None:
    if not read_in_pieces(text, size).has_strays:
        list(csv.reader(io.StringIO(text, newline=""), strict=True))  # raises no error


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(TEXTS, min_size=2, max_size=3)), st.sampled_from(["", "\ufeff"]), st.integers(1, 9))
def test_a_text_that_the_csv_module_writes_has_no_stray_quotes(rows: list[list[str]], mark: str, size: int) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    assert not read_in_pieces(mark + out.getvalue(), max(size, len(mark.encode()))).has_strays
