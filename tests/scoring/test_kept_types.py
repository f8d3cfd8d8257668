"""Kept columns of every Arrow type, tabs in `.tsv` files, and empty lines in CSV files of one column."""

from __future__ import annotations

import csv
import datetime
import uuid
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from serving import make_checkpoint, numeric

from models.columns.schema import ClassTarget, Schema
from models.errors import DataError
from models.model_version import ModelVersion
from models.store import Store
from scoring.job import Outcome, score
from scoring.job_settings import JobSettings
from scoring.writing import SUFFIXES, OutForm

ONE = Schema(columns=(numeric("x"),), target=ClassTarget(name="kind", labels=(-(2**63), 2**64 - 1)))
TYPES: dict[str, tuple[pa.DataType, object, set[OutForm]]] = {  # and the formats that hold the type
    "list": (pa.list_(pa.string()), ["a"], {"parquet", "arrow"}),
    "struct": (pa.struct([("a", pa.int64())]), {"a": 1}, {"parquet", "arrow"}),
    "map": (pa.map_(pa.string(), pa.int64()), [("a", 1)], {"parquet", "arrow"}),
    "uuid": (pa.uuid(), uuid.UUID(int=7).bytes, {"parquet", "arrow"}),
    "string_view": (pa.string_view(), "a,b", {"parquet", "arrow", "csv"}),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), "a", {"parquet", "arrow", "csv"}),
    "month_interval": (pa.month_day_nano_interval(), pa.MonthDayNano([1, 2, 3]), {"arrow"}),
    "run_end_encoded": (pa.run_end_encoded(pa.int32(), pa.int64()), 7, {"arrow"}),
    "date": (pa.date32(), datetime.date(2026, 1, 2), {"parquet", "arrow", "csv"}),
}


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> ModelVersion:
    store = Store(tmp_path_factory.mktemp("one") / "store")
    store.publish("one", make_checkpoint(ONE, 4))
    return store.resolve("one")


def scored(version: ModelVersion, source: Path, out: Path, *keep: str) -> Outcome:
    return score(version, JobSettings(source=str(source), out=out, form=SUFFIXES[out.suffix], keep=keep))


def write(kept: pa.Array, path: Path) -> Path:
    table = pa.table({"x": pa.array([0.0, 3.0]), "kept": kept})
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
@pytest.mark.parametrize("name", TYPES)
def test_a_kept_column_is_written_or_refused_by_name(version, tmp_path, name, suffix):
    kind, cell, holding = TYPES[name]
    values = pa.array([cell, None], kind.storage_type if name == "uuid" else kind)
    kept = pa.ExtensionArray.from_storage(kind, values) if name == "uuid" else values
    source = write(kept, tmp_path / "rows.arrow")
    out = tmp_path / f"out{suffix}"
    if SUFFIXES[suffix] not in holding:
        with pytest.raises(DataError, match=r"rows.arrow: the kept column 'kept' holds .* leave the column out"):
            scored(version, source, out, "kept")
        assert not out.exists()
        return
    assert scored(version, source, out, "kept").answered == 2
    if suffix == ".csv":
        with out.open(newline="") as file:
            assert [line["kept"] for line in csv.DictReader(file)] == [str(cell), ""]
    else:
        table = pq.read_table(out) if suffix == ".parquet" else pa.ipc.open_file(out).read_all()
        assert table["kept"].to_pylist() == kept.to_pylist()


def test_bytes_that_are_no_text_are_refused_in_csv_when_they_come(version, tmp_path):
    source = write(pa.array([b"a", b"\xff\xfe"]), tmp_path / "rows.arrow")
    with pytest.raises(DataError, match=r"out.csv: a kept column cannot be written as csv: .*UTF8"):
        scored(version, source, tmp_path / "out.csv", "kept")
    assert not (tmp_path / "out.csv").exists()
    assert scored(version, source, tmp_path / "out.parquet", "kept").answered == 2


def test_a_file_with_the_suffix_tsv_has_tabs(version, tmp_path):
    source = write(pa.array(["a,b", "c\td"]), tmp_path / "rows.arrow")
    scored(version, source, tmp_path / "out.tsv", "kept")
    with (tmp_path / "out.tsv").open(newline="") as file:
        head, *rows = csv.reader(file, delimiter="\t")
    assert head == ["kept", "prediction", *(f"probability {label}" for label in ONE.target.labels)]
    assert [row[0] for row in rows] == ["a,b", "c\td"]
    assert {row[1] for row in rows} <= {str(label) for label in ONE.target.labels}


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_empty_line_of_one_column_is_a_row(version, tmp_path, end):
    (tmp_path / "rows.csv").write_bytes(end.join(["x", "1", "", "2", ""]).encode())
    settings = JobSettings(source=str(tmp_path / "rows.csv"), out=tmp_path / "out", form="parquet", errors="null")
    outcome = score(version, settings)
    assert (outcome.rows, outcome.answered) == (3, 2)
    answers = pq.read_table(tmp_path / "out")["prediction"].to_pylist()
    assert [answer is None for answer in answers] == [False, True, False]
    (tmp_path / "two.csv").write_bytes(end.join(["x,y", "1,2", "", "2,3", ""]).encode())
    assert scored(version, tmp_path / "two.csv", tmp_path / "two.parquet").rows == 2
