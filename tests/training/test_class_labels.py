"""Labels are returned with the spelling and the type of the training data, as in pandas."""

from __future__ import annotations

import decimal
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from models.errors import DataError
from models.store import Store
from training.data.class_labels import read_classes
from training.data.csv_file import read_csv
from training.data.raw_column import RawColumn
from training.data.table import Table
from training.data.understanding import read_training_table
from training.fit import fit

ROWS = 24


def classes_of(table: Table, test: Table | None = None) -> tuple[Any, ...]:
    read = read_training_table(table, name="t", target="y", task="classification", test=test)
    assert read.task == "classification"
    return read.classes


def csv_of(tmp_path: Path, labels: list[str], name: str = "t.csv", delimiter: str = ",") -> Path:
    path = tmp_path / name
    rows = [f"{i}{delimiter}{labels[i % len(labels)]}" for i in range(ROWS)]
    path.write_text(f"x{delimiter}y\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def typed(values: Any) -> list[str]:
    return [f"{type(value).__name__} {value!r}" for value in values]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["0", "1"], (0, 1)),
        (["10", "9", "-1"], (-1, 9, 10)),
        (["-1", "+1"], (-1, 1)),
        (["1.0", "2.0"], (1.0, 2.0)),
        (["1", "2.0"], (1.0, 2.0)),
        (["1.5", "10.5", "1.50"], (1.5, 10.5)),
        (["1e3", "1000", "2"], (2.0, 1000.0)),
        (["True", "False"], (False, True)),
        (["TRUE", "true", "False"], (False, True)),
        (["yes", "no"], ("no", "yes")),
        (["True", "False", "maybe"], ("False", "True", "maybe")),
        (["007", "7"], ("007", "7")),
        (["01", "02"], ("01", "02")),
        (["1", "x"], ("1", "x")),
        ([str(2**63), "1"], (1, 2**63)),
        ([str(2**64), "1"], ("1", str(2**64))),
        (["9" * 5_000, "1"], ("1", "9" * 5_000)),
        (["1e999", "1"], ("1", "1e999")),
        (["2024-01-01", "2024-01-02"], ("2024-01-01", "2024-01-02")),
        (["naïve", "日本"], ("naïve", "日本")),
    ],
    ids=lambda value: str(value)[:40],
)
def test_cells_of_a_csv_have_the_type_that_all_of_them_can_be_read_as(
    cells: list[str], labels: tuple[Any, ...], tmp_path: Path
) -> None:
    assert typed(classes_of(read_csv(csv_of(tmp_path, cells)))) == typed(labels)


@pytest.mark.parametrize("cells", [["0", "1"], ["1.0", "2.0"], ["1.5", "10.5"], ["True", "False"], ["b", "a"]])
def test_a_csv_gives_the_labels_that_pandas_reads(cells: list[str], tmp_path: Path) -> None:
    path = csv_of(tmp_path, cells)
    assert typed(classes_of(read_csv(path))) == typed(np.unique(pd.read_csv(path)["y"].to_numpy()).tolist())


def test_decimal_commas_are_numbers_too(tmp_path: Path) -> None:
    path = csv_of(tmp_path, ["1,5", "10,5"], delimiter=";")
    assert typed(classes_of(read_csv(path))) == typed((1.5, 10.5))


def test_very_many_labels_of_a_csv_are_whole_numbers_all_the_same(tmp_path: Path) -> None:
    """Stores a column of more than a thousand distinct texts as numbers: labels must not become floats by that."""
    path = tmp_path / "many.csv"
    path.write_text("x,y\n" + "".join(f"{i},{i % 1_500}\n" for i in range(4_500)), encoding="utf-8")
    assert typed(classes_of(read_csv(path))) == typed(range(1_500))


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (pa.array([1, 0]), (0, 1)),
        (pa.array([1, 0], pa.uint8()), (0, 1)),
        (pa.array([2**64 - 1, 0], pa.uint64()), (0, 2**64 - 1)),
        (pa.array([1.0, 0.0]), (0.0, 1.0)),
        (pa.array([2.5, 10.0]), (2.5, 10.0)),
        (pa.array([0.1, 0.3], pa.float32()), (0.1, 0.3)),
        (pa.array([0.0, -0.0, 1.0]), (0.0, 1.0)),
        (pa.array([float("inf"), 1.0]), ("1", "inf")),
        (pa.array([True, False]), (False, True)),
        (pa.array(["1", "0"]), ("0", "1")),
        (pa.array(["True", "False"]), ("False", "True")),
        (pa.array(["1.0", "2.0"]), ("1.0", "2.0")),
        (pa.array(["lead  in", "no"]), ("lead  in", "no")),
        (pa.array(["b", "a"], pa.large_string()), ("a", "b")),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array([3, 1]).dictionary_encode(), (1, 3)),
        (pa.array([decimal.Decimal("1.50"), decimal.Decimal("2.00")]), (1.5, 2.0)),
        (pa.array([decimal.Decimal(7), decimal.Decimal(8)]), (7, 8)),
    ],
    ids=lambda value: f"{value.type} {value[0]}" if isinstance(value, pa.Array) else "",
)
def test_typed_cells_keep_their_type(cells: pa.Array, labels: tuple[Any, ...], tmp_path: Path) -> None:
    x = np.arange(ROWS)
    table = pa.table({"x": x, "y": cells.take(pa.array(x % len(cells)))})
    path = tmp_path / "t.parquet"
    pyarrow.parquet.write_table(table, path)
    for read in (Table.from_arrow(table, source="t"), Table.from_arrow(pyarrow.parquet.read_table(path), source="t")):
        assert typed(classes_of(read)) == typed(labels)


def test_a_column_that_mixes_types_is_refused_or_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(ROWS), "y": [1, "a"] * (ROWS // 2)})
    with pytest.raises(DataError, match="mixed types"):
        Table.from_pandas(frame)
    assert classes_of(Table.from_pandas(frame.astype({"y": str}))) == ("1", "a")


@pytest.mark.parametrize(
    ("train", "test", "label"),
    [
        (["0", "1"], "1.0", 1),
        (["1.5", "2.5"], "2.50", 2.5),
        (["True", "False"], "true", True),
        (["007", "x"], "007", "007"),
        (["7", "x"], "7", "7"),
        (["True", "x"], "True", "True"),
    ],
)
def test_the_labels_of_a_test_file_are_those_of_the_training_file(
    train: list[str], test: str, label: Any, tmp_path: Path
) -> None:
    raw = read_csv(csv_of(tmp_path, train)), read_csv(csv_of(tmp_path, [test], "test.csv"))
    read = read_training_table(raw[0], name="t", target="y", task="classification", test=raw[1])
    assert typed({read.classes[i] for i in read.target[ROWS:]}) == typed([label])


def test_a_label_of_a_test_file_that_training_lacks_is_refused_by_its_line(tmp_path: Path) -> None:
    raw = read_csv(csv_of(tmp_path, ["0", "1"])), read_csv(csv_of(tmp_path, ["0", "2"], "test.csv"))
    with pytest.raises(DataError, match="class '2' at line 3 is none of the training rows'"):
        classes_of(*raw)


@pytest.mark.parametrize(
    "labels", [[0, 1], [1.5, 2.5], [False, True], ["0", "1"], ["False", "True"], [10, 9, -1]], ids=str
)
def test_what_is_predicted_is_what_the_frame_holds(labels: list[Any], tmp_path: Path) -> None:
    y = [labels[i % len(labels)] for i in range(60)]
    x = [float(labels.index(label)) for label in y]
    frame = pd.DataFrame({"x": x, "z": range(60), "y": y})
    settings = {"recipe": "classic", "hidden_sizes": (8,), "epochs": 30, "learning_rate": 0.03}
    model = fit(frame, target="y", task="classification", name="m", **settings)  # type: ignore[arg-type]
    answered = model.predict(frame[["x", "z"]].values.tolist())
    right = [type(given) is type(truth) and given == truth for given, truth in zip(answered, y, strict=True)]
    assert np.mean(right) > 0.9
    header = model.publish(Store(tmp_path)).read_header()
    assert typed(header["target"]["labels"]) == typed(sorted(labels))
    assert typed(json.loads(json.dumps(answered))) == typed(answered)


@pytest.mark.parametrize(
    ("one", "other"),
    [("M\xfcller", "Mu\u0308ller"), ("P 1", "P  1"), ("P 1", "P\xa01"), ("anna", "an\u200bna"), ("\xc5", "\u212b")],
)
def test_labels_that_look_alike_are_refused_with_a_row_of_each(one: str, other: str, tmp_path: Path) -> None:
    table = read_csv(csv_of(tmp_path, [one, "x", other]))
    with pytest.raises(DataError) as refused:
        classes_of(table)
    message = str(refused.value)
    assert f"{one!a} at line 2" in message
    assert f"{other!a} at line 4" in message
    assert message.endswith("write them alike.")
    train, test = (read_csv(csv_of(tmp_path, [label, "x"], name=f"{i}.csv")) for i, label in enumerate((one, other)))
    with pytest.raises(DataError) as refused:
        classes_of(train, test)
    assert f"class {other!a} at line 2 is none of the training rows', but looks like their {one!a}" in str(
        refused.value
    )


def test_labels_that_people_tell_apart_are_classes(tmp_path: Path) -> None:
    labels = ["007x", "7x", "Anna", "anna", "m2", "m\xb2"]
    assert sorted(classes_of(read_csv(csv_of(tmp_path, labels)))) == sorted(labels)


def test_a_row_without_a_name_is_never_given_a_class() -> None:
    column = RawColumn(Table(source="t", columns={"y": pa.array(["a", "b", None])}), "y", "target")
    with pytest.raises(ValueError, match="row 2 has no name"):
        read_classes(column)
