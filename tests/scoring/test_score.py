"""`axon score`: the answers are those of `axon.load`, whatever the format, and every fault is named."""

from __future__ import annotations

import csv
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scored_tables import write

import axon
from axon.cli import main
from models.store import Store

pytestmark = pytest.mark.slow

EVERY_FORM = (".parquet", ".arrow", ".arrows", ".csv", ".csv.gz")


def score(store: Store, source: object, model: str, out: Path, *options: str) -> int:
    return main(["score", str(source), "--model", model, "--store", str(store.root), "--out", str(out), *options])


def read(out: Path) -> pa.Table:
    """Reads answers: the Parquet files of a folder, or one file."""
    if out.suffix == ".csv":
        return pyarrow.csv.read_csv(out)
    if out.suffix == ".arrow":
        with pa.ipc.open_file(out) as reader:
            return reader.read_all()
    return pq.read_table(out)


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def expected(store: Store, model: str, table: pa.Table) -> tuple[list[object], np.ndarray | None]:
    """Returns the answers of `axon.load`, whose network is NumPy's and whose rows are read cell by cell."""
    loaded = axon.load(model, store)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown categories
        return loaded.predict(table), loaded.predict_proba(table) if loaded.classes else None


@pytest.mark.parametrize("suffix", EVERY_FORM)
def test_the_answers_are_those_of_the_model_in_every_format(store, mixed, tmp_path, suffix):
    source = write(mixed, tmp_path / f"rows{suffix}")
    assert score(store, source, "mixed", tmp_path / "out", "--keep", "note,floor") == 0
    answers = read(tmp_path / "out")
    values, _ = expected(store, "mixed", mixed)
    assert answers.column_names == ["note", "floor", "prediction"]
    assert answers["note"].to_pylist() == mixed["note"].to_pylist()
    assert answers.schema.field("floor").type == (pa.string() if "csv" in suffix else pa.int64())
    assert answers.schema.field("prediction").type == pa.float64()  # an origin of 1.6e9 needs 64 bits
    np.testing.assert_allclose(answers["prediction"].to_numpy() - 1.6e9, np.array(values) - 1.6e9, rtol=1e-5, atol=1e-6)


def test_values_declared_missing_in_training_are_gaps(tmp_path):
    cells = [99_999_999, 100_000_000, 5, 7] * 15
    frame = pd.DataFrame({"x": cells, "y": np.arange(60.0)})
    model = axon.fit(frame, target="y", missing_values=[99_999_999], epochs=1, hidden_sizes=(4,), name="gappy")
    store = Store(tmp_path / "store")
    model.publish(store)
    pq.write_table(pa.table({"x": pa.array(cells[:4], pa.float64())}), tmp_path / "rows.parquet")
    assert score(store, tmp_path / "rows.parquet", "gappy", tmp_path / "out") == 0
    answers = read(tmp_path / "out")["prediction"].to_pylist()
    expected = model.predict(pd.DataFrame({"x": [None, *cells[1:4]]}))
    np.testing.assert_allclose(answers, expected, rtol=1e-5)
    assert answers[0] != answers[1]


@pytest.mark.parametrize("suffix", EVERY_FORM)
def test_names_of_columns_are_tidied_as_in_training(store, mixed, tmp_path, suffix):
    untidy = mixed.rename_columns([f" {name}\u200b " for name in mixed.column_names])
    outs = []
    for name, table in (("tidy", mixed), ("untidy", untidy)):
        source = write(table, tmp_path / f"{name}{suffix}")
        outs.append(tmp_path / name)
        assert score(store, source, "mixed", outs[-1], "--keep", "note") == 0
    assert read(outs[0]).equals(read(outs[1]))


@pytest.mark.parametrize("out", ["out", "out.parquet", "out.arrow", "out.csv"])
def test_a_classifier_has_probabilities_and_labels_of_their_type(store, tmp_path, out):
    rng = np.random.default_rng(0)
    table = pa.table({"b": rng.normal(size=300), "a": rng.normal(size=300)})
    assert score(store, write(table, tmp_path / "rows.parquet"), "sizes@1", tmp_path / out) == 0
    answers = read(tmp_path / out)
    labels, probabilities = expected(store, "sizes", table)
    assert answers.column_names == ["prediction", "probability 1", "probability 2", "probability 40"]
    assert answers.schema.field("prediction").type == pa.int64()
    assert answers["prediction"].to_pylist() == labels
    found = np.stack([answers[f"probability {label}"].to_numpy() for label in (1, 2, 40)], axis=1)
    np.testing.assert_allclose(found, probabilities, rtol=1e-5, atol=1e-7)


def test_the_columns_are_those_of_axon_predict(store, numbers, tmp_path):
    source = write(numbers.slice(0, 50), tmp_path / "rows.parquet")
    options = ["--model", "numbers", "--store", str(store.root), "--out", str(tmp_path / "predicted.parquet")]
    assert main(["predict", str(source), *options]) == 0
    assert score(store, source, "numbers", tmp_path / "scored.parquet", "--keep", ",".join(numbers.column_names)) == 0
    predicted, scored = read(tmp_path / "predicted.parquet"), read(tmp_path / "scored.parquet")
    assert [(field.name, field.type) for field in scored.schema] == [(f.name, f.type) for f in predicted.schema]
    assert scored["prediction"].equals(predicted["prediction"])


def test_members_answer_as_a_model_of_these_members_alone(store, tmp_path):
    from ensembles import ensemble
    from scored_tables import SIZES

    store.publish("pair", ensemble(SIZES, 2, 8))
    rng = np.random.default_rng(1)
    source = write(pa.table({"a": rng.normal(size=99), "b": rng.normal(size=99)}), tmp_path / "rows.parquet")
    assert score(store, source, "sizes", tmp_path / "two", "--members", "2") == 0
    assert score(store, source, "sizes", tmp_path / "all") == 0
    assert score(store, source, "pair", tmp_path / "pair") == 0
    assert read(tmp_path / "two").equals(read(tmp_path / "pair"))
    assert not read(tmp_path / "two").equals(read(tmp_path / "all"))


def test_a_folder_and_a_pattern_have_the_rows_of_all_files_in_order(store, numbers, tmp_path):
    rows = tmp_path / "rows"
    (rows / "b").mkdir(parents=True)
    write(numbers.slice(0, 100), rows / "a.parquet")
    write(numbers.slice(100, 50), rows / "b" / "c.csv")
    write(numbers.slice(150, 25), rows / "d.arrow")
    (rows / "_SUCCESS").touch()
    assert score(store, rows, "numbers", tmp_path / "out", "--keep", "id", "--format", "csv") == 0
    files = sorted((tmp_path / "out").glob("*.csv"))
    ids = [row["id"] for file in files for row in lines_of(file)]
    assert ids == [str(i) for i in range(175)]
    assert score(store, rows / "*.parquet", "numbers", tmp_path / "matched") == 0
    assert len(read(tmp_path / "matched")) == 100


def faulty(numbers: pa.Table) -> pa.Table:
    """Returns rows of which 3, 40 and 41 do not fit."""
    table = numbers.slice(0, 60)
    x1 = table["x1"].to_numpy().copy()
    x1[40], x2 = np.inf, table["x2"].to_pylist()
    x2[3] = x2[41] = None
    return table.set_column(2, "x1", pa.array(x1)).set_column(3, "x2", pa.array(x2, pa.float32()))


@pytest.mark.parametrize("suffix", EVERY_FORM)
def test_rows_that_do_not_fit_are_refused_left_out_or_null(store, numbers, tmp_path, suffix, capsys):
    table = faulty(numbers)
    source = write(table, tmp_path / f"rows{suffix}")
    assert score(store, source, "numbers", tmp_path / "refused") == 2
    assert f"error: rows{suffix}: row 3, column 'x2': the value is missing" in capsys.readouterr().err
    sound = [i for i in range(60) if i not in (3, 40, 41)]
    assert score(store, source, "numbers", tmp_path / "skip", "--errors", "skip", "--keep", "id") == 0
    assert "3 rows have no answer" in capsys.readouterr().err
    assert score(store, source, "numbers", tmp_path / "null", "--errors", "null", "--keep", "id") == 0
    skipped, nulled = read(tmp_path / "skip"), read(tmp_path / "null")
    labels, _ = expected(store, "numbers", numbers.slice(0, 60).take(sound))
    assert list(map(int, skipped["id"].to_pylist())) == sound
    assert skipped["prediction"].to_pylist() == labels
    assert nulled.num_rows == 60
    assert nulled.filter(pa.array([i in sound for i in range(60)])).equals(skipped)
    assert [nulled["prediction"][i].as_py() for i in (3, 40, 41)] == [None] * 3
    assert [nulled["probability red"][i].as_py() for i in (3, 40, 41)] == [None] * 3
    for out in ("skip", "null"):
        (listed,) = (tmp_path / out / "_axon/faults").iterdir()
        found = [(row["file"], row["row"], row["column"]) for row in lines_of(listed)]
        assert found == [(source.name, "3", "x2"), (source.name, "40", "x1"), (source.name, "41", "x2")]


def test_rows_are_counted_from_the_beginning_of_the_file_and_lists_are_bounded(store, numbers, tmp_path):
    x0 = np.full(50_000, np.nan, np.float32)
    x0[:20_000] = 1
    source = write(numbers.set_column(1, "x0", pa.array(x0)), tmp_path / "rows.parquet", row_group_size=20_000)
    assert score(store, source, "numbers", tmp_path / "out", "--errors", "skip", "--part-rows", "20000") == 0
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("*.parquet"))] == [20_000, 0, 0]
    first, second = sorted((tmp_path / "out/_axon/faults").iterdir())
    lines = lines_of(first)
    assert (lines[0]["row"], len(lines), lines[-1]["reason"]) == (
        "20000",
        10_001,
        "and 10,000 more, which are not listed",
    )
    assert lines_of(second)[0]["row"] == "40000"


def test_an_answer_that_overflows_is_a_fault_of_its_row(store, numbers, tmp_path):
    x3 = numbers["x3"].to_numpy()[:10].copy()
    x3[7] = 3e38
    source = write(numbers.slice(0, 10).set_column(4, "x3", pa.array(x3)), tmp_path / "rows.parquet")
    assert score(store, source, "numbers", tmp_path / "out", "--errors", "null") == 0
    gaps = [answer is None for answer in read(tmp_path / "out")["prediction"].to_pylist()]
    (listed,) = (tmp_path / "out/_axon/faults").iterdir()
    assert gaps == [i == 7 for i in range(10)]
    assert "answer to this row is not finite" in listed.read_text()


def test_unknown_categories_are_told(store, mixed, tmp_path, capsys):
    assert score(store, write(mixed, tmp_path / "rows.parquet"), "mixed", tmp_path / "out") == 0
    count = mixed["town"].to_pylist().count("Ayr")
    assert f"{count:,} cells of column 'town' hold a category that training did not see" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns(["x2"]), "rows.parquet lacks the column 'x2', which the model was trained with"),
        (lambda t: t.set_column(1, "x0", t["x0"].cast(pa.string())), "column 'x0' holds string, where the model takes"),
        (lambda t: t.set_column(1, "x0", pa.array([[1.0]] * len(t))), "column 'x0' holds list<"),
    ],
)
def test_a_table_of_other_columns_is_refused_before_anything_is_answered(
    store, numbers, tmp_path, capsys, change, message
):
    source = write(change(numbers.slice(0, 5)), tmp_path / "rows.parquet")
    assert score(store, source, "numbers", tmp_path / "out", "--errors", "null") == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_scored_is_refused_with_a_remedy(store, numbers, tmp_path, capsys):
    rows = tmp_path / "rows"
    rows.mkdir()
    source = write(numbers.slice(0, 5), rows / "rows.parquet")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    (tmp_path / "rows.xlsx").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/file").touch()
    for given, out, options, message in (
        (tmp_path / "absent.csv", "out", (), "there is no file"),
        (tmp_path / "*.nothing", "out", (), "no file matches"),
        (tmp_path / "empty", "out", (), "is a folder without a file of rows"),
        (tmp_path / "rows.xlsx", "out", (), "the suffix names no format"),
        (tmp_path / "text.parquet", "out", (), "text.parquet is not a sound Parquet file"),
        ("ftp://host/rows", "out", (), "ftp:// is not known"),
        (rows, "rows/out", (), "whose files are to be scored: name an --out elsewhere"),
        (rows, "rows", (), "which is to be scored: name another --out"),
        (source, "other", (), "holds files that axon score did not write"),
        (source, "out", ("--keep", "name"), "lacks the column 'name', which --keep names"),
        (source, "out", ("--keep", "prediction"), "has the name of an answer"),
        (source, "out", ("--members", "2"), "members is 2, and the model is a single network"),
        (source, "out", ("--shard", "3/3"), "shard 3/3: the numbers are 0/3 to the one before it"),
        (source, "out", ("--shard", "one"), "give it as i/n"),
        (source, "out.csv", ("--shard", "0/2"), "is one file, which shards cannot share"),
        (source, "out.csv", ("--format", "arrow"), "contradicts the suffix"),
        (source, "out", ("--part-rows", "0"), "part_rows must be 1 or more"),
    ):
        assert score(store, given, "numbers", tmp_path / out, *options) == 2, (given, options)
        assert message in capsys.readouterr().err, (given, options)
    assert score(store, source, "absent", tmp_path / "out") == 2


def test_a_file_name_that_is_not_utf_8_is_refused(store, tmp_path, capsys):
    (tmp_path / "rows").mkdir()
    path = os.fsencode(tmp_path / "rows") + b"/r\xf6ws.csv"
    with open(path, "w") as file:  # noqa: PTH123 -- a path of pathlib is a text
        file.write("a,b,c\n1,2,3\n")
    assert score(store, tmp_path / "rows", "numbers", tmp_path / "out") == 2
    assert "is not UTF-8: rename the file" in capsys.readouterr().err


def test_a_csv_row_of_another_length_is_named(store, tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("x0;x1;x2;x3\n1;2;3;4\n1;2;3\n")
    assert score(store, tmp_path / "rows.csv", "numbers", tmp_path / "out") == 2
    assert "rows.csv cannot be read: CSV parse error" in capsys.readouterr().err
