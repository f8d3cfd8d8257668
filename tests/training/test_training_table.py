"""What a column is, is found out from its cells; what cannot be learned from is refused, with column and row named."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.errors import DataError
from training.data.csv_file import read_csv
from training.data.table import Table
from training.data.training_table import ColumnChoices, read_training_table


def read(columns, *, target="y", task=None, **choices):
    table = Table.from_arrow(pa.table(columns), source="the table")
    return read_training_table(table, name="t", target=target, task=task, choices=ColumnChoices(**choices))


@pytest.fixture
def read_text(write):
    def read_file(text, *, target="y", task=None, **choices):
        return read_training_table(
            read_csv(write(text, "data.csv")), name="t", target=target, task=task, choices=ColumnChoices(**choices)
        )

    return read_file


def kinds(table):
    return {name: "numeric" if table.is_numeric(name) else "categorical" for name in table.features}


def csv_of(column, target=("a", "b")):
    """A CSV of the column x beside z and a target y."""
    return "x,z,y\n" + "".join(f"{cell},{i},{target[i % len(target)]}\n" for i, cell in enumerate(column))


class TestKinds:
    def test_types_of_parquet_and_frames_are_taken_at_their_word(self):
        columns = {
            "whole": [1, 2, 3, 4],
            "real": [0.5, 1, 2, 3],
            "small": pa.array([1, 2, 3, 4], pa.uint8()),
            "name": ["u", "v", "u", "v"],
            "numbered_name": ["1", "2", "1", "2"],
            "flag": [True, False, True, False],
            "dictionary": pa.array(["u", "v", "u", "v"]).dictionary_encode(),
            "y": ["a", "b", "a", "b"],
        }
        assert kinds(read(columns)) == {
            "whole": "numeric",
            "real": "numeric",
            "small": "numeric",
            "name": "categorical",
            "numbered_name": "categorical",
            "flag": "categorical",
            "dictionary": "categorical",
        }

    @pytest.mark.parametrize("cells", ["1 2.5 -3 +4", ".5 5. 1e3 -2E-4", "0 00 007 1"])
    def test_texts_that_are_numbers_make_a_numeric_column(self, read_text, cells):
        table = read_text(csv_of(cells.split()))
        np.testing.assert_array_equal(table.features["x"], [float(cell) for cell in cells.split()])

    @pytest.mark.parametrize("cells", ["1_000 2 2 1", "0x1f 1 1 0x1f", "١ ٢ ١ ٢", "1e 2e 1e 2e"])
    def test_texts_that_only_python_takes_for_numbers_do_not(self, read_text, cells):
        assert kinds(read_text(csv_of(cells.split())))["x"] == "categorical"

    def test_a_decimal_comma_is_read_in_a_file_divided_by_semicolons(self, read_text):
        table = read_text("x;z;y\n1,5;1;a\n-2;2.5;b\n0,25;3;a\n")
        np.testing.assert_array_equal(table.features["x"], [1.5, -2, 0.25])
        np.testing.assert_array_equal(table.features["z"], [1, 2.5, 3])

    def test_truth_values_are_named_as_json_writes_them(self, read_text):
        for table in (
            read({"x": [True, False, True], "y": ["a", "b", "a"]}),
            read_text(csv_of(["True", "False", "TRUE"])),
        ):
            assert table.features["x"].tolist() == ["true", "false", "true"]

    def test_whole_numbers_that_a_gap_turned_into_floats_are_named_whole(self, read_text):
        choices = {"categorical": ("x",)}
        for table in (
            read({"x": [1.0, None, 20.0, 1.0], "y": ["a", "b", "a", "b"]}, **choices),
            read({"x": [1.0, math.nan, 20.0, 1.0], "y": ["a", "b", "a", "b"]}, **choices),
            read({"x": [1, None, 20, 1], "y": ["a", "b", "a", "b"]}, **choices),
            read_text(csv_of(["1.0", "", "20.0", "1.0"]), **choices),
        ):
            assert table.features["x"].tolist() == ["1", None, "20", "1"]

    def test_a_postcode_read_as_a_name_keeps_its_leading_zero(self, read_text):
        table = read_text(csv_of(["01067", "10115", "01067"]), categorical=("x",))
        assert table.features["x"].tolist() == ["01067", "10115", "01067"]

    def test_a_dropped_column_is_gone(self):
        assert list(read({"x": [1, 2], "id": ["p", "q"], "y": ["a", "b"]}, drop=("id",)).features) == ["x"]

    def test_the_index_of_a_frame_is_no_column(self):
        frame = pd.DataFrame({"x": [1.0, 2.0], "y": ["a", "b"]}, index=[10, 20])
        assert list(Table.from_pandas(frame).columns) == ["x", "y"]
        stored = pa.Table.from_pandas(frame, preserve_index=True)
        assert list(Table.from_arrow(stored, source="t").columns) == ["x", "y"]


class TestTarget:
    @pytest.mark.parametrize(
        ("values", "labels"),
        [
            (["b", "a", "b"], ("a", "b")),
            ([True, False, True], ("false", "true")),
            ([10, 2, 10], ("2", "10")),
            ([1.0, 0.0, 1.0], ("0", "1")),
            (["10", "9", "10"], ("9", "10")),
        ],
    )
    def test_names_truth_values_and_few_whole_numbers_are_classes_in_order(self, values, labels):
        table = read({"x": [1, 2, 3], "y": values})
        assert table.task == "classification"
        assert table.labels == labels
        assert [table.labels[i] for i in table.target] == [
            str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0") for value in values
        ]

    @pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], list(range(21))])
    def test_other_numbers_are_a_regression(self, values):
        table = read({"x": list(range(len(values))), "y": values})
        assert table.task == "regression"
        np.testing.assert_array_equal(table.target, values)

    def test_the_task_can_be_chosen(self):
        assert read({"x": [1, 2, 3], "y": [1, 2, 1]}, task="regression").task == "regression"
        assert read({"x": [1, 2, 3], "y": [1.5, 2.5, 1.5]}, task="classification").labels == ("1.5", "2.5")


TEN = [str(i) for i in range(10)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (csv_of([*TEN, "n/a?"]), "column 'x' of data.csv: 'n/a?' at line 12 is not a number, while 10 of 11 cells"),
            (csv_of([*TEN, "n/a?"]), "--categorical x"),
            (csv_of([1, 1, 1]), "column 'x' of data.csv has one value only, 1, and so tells nothing: drop it"),
            (csv_of(["u", "u", "u"]), "column 'x' of data.csv has one value only, 'u'"),
            (csv_of(["", "NA", ""]), "column 'x' of data.csv has no value at all"),
            (csv_of([1, "inf", 2]), "column 'x' of data.csv: the value at line 3 is infinite."),
            (csv_of([1, 2, "-Infinity"]), "column 'x' of data.csv: the value at line 4 is infinite."),
            (csv_of([1, 2, "1e39"]), "column 'x' of data.csv: the value at line 4 is too large"),
            (csv_of(["u", "v", "w"]), "column 'x' of data.csv has another name in each of its 3 rows"),
            (csv_of(["u", "v", "w"]), "--drop x"),
            (csv_of([1, 2, 3], target=("a",)), "target 'y' of data.csv has one class only, 'a'"),
            (csv_of([1, 2, 3], target=("1.5",)), "target 'y' of data.csv has one value only, 1.5"),
            (csv_of([1, 2, 3], target=("a", "", "b")), "target 'y' of data.csv has no value at line 3:"),
            (csv_of([1, 2, 3, 4], target=("a", "NaN")), "has no value at line 3 and 1 more"),
            (csv_of([1, 2, 3], target=("0.5", "inf", "1")), "target 'y' of data.csv: the value at line 3 is infinite"),
            (
                csv_of(range(11), target=[*(f"{i}.5" for i in range(10)), "oops"]),
                "target 'y' of data.csv: 'oops' at line 12 is not a number",
            ),
            ("y\na\nb\n", "data.csv has no column to learn from beside the target 'y'"),
        ],
    )
    def test_a_table_that_cannot_be_learned_from(self, read_text, text, message):
        with pytest.raises(DataError) as refused:
            read_text(text)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)

    def test_below_nine_tenths_of_numbers_it_is_a_column_of_names(self, read_text):
        assert kinds(read_text(csv_of([1, 1, 1, "u", "u"])))["x"] == "categorical"

    def test_a_stray_word_is_accepted_where_the_column_is_said_to_be_of_names(self, read_text):
        assert "n/a?" in read_text(csv_of([*TEN, *TEN, "n/a?"]), categorical=("x",)).features["x"]

    def test_words_in_a_column_that_is_said_to_be_numeric(self, read_text):
        with pytest.raises(DataError, match="'u' at line 5 is not a number, while 3 of 5 cells are"):
            read_text(csv_of([1, 1, 2, "u", "u"]), numeric=("x",))

    def test_constant_columns_are_kept_on_request(self, read_text):
        assert list(read_text(csv_of([1, 1, 1]), keep_constant=True).features) == ["x", "z"]

    @pytest.mark.parametrize("wanted", [{"target": "Y"}, {"drop": ("yY",)}, {"categorical": ("yy",)}])
    def test_a_column_that_is_not_there_brings_close_names(self, wanted):
        with pytest.raises(DataError, match=r"the table has no column '\w+'; did you mean 'y'\?"):
            read({"xxxx": [1, 2], "y": ["a", "b"]}, **wanted)

    def test_a_column_that_is_like_none_brings_all_names(self):
        with pytest.raises(DataError, match=r"has no column 'species'; its columns are 'x', 'y'\."):
            read({"x": [1, 2], "y": ["a", "b"]}, target="species")

    def test_the_target_cannot_be_dropped(self):
        with pytest.raises(DataError, match="'y' is the target"):
            read({"x": [1, 2], "y": ["a", "b"]}, drop=("y",))

    def test_a_regression_of_names(self):
        with pytest.raises(
            DataError, match=r"target 'y' of the table holds names \('a' at row 0 \(counting from 0\)\)"
        ):
            read({"x": [1, 2], "y": ["a", "b"]}, task="regression")

    @pytest.mark.parametrize(
        "values", [pa.array([1, 2], pa.timestamp("s")), pa.array([[1], [2]]), pa.array([b"u", b"v"])]
    )
    def test_types_that_are_neither_numbers_nor_names(self, values):
        with pytest.raises(DataError, match=r"column 'x' of the table holds .*, which is neither numbers nor names"):
            read({"x": values, "y": ["a", "b"]})

    def test_a_frame_of_mixed_types(self):
        with pytest.raises(DataError, match="the data frame has a column of mixed types"):
            Table.from_pandas(pd.DataFrame({"x": [1, "u", 2.5]}))

    def test_choices_that_contradict_each_other(self):
        with pytest.raises(DataError, match="'x' cannot be both"):
            ColumnChoices(categorical=("x",), numeric=("x",))
        with pytest.raises(DataError, match="drop must be a sequence of column names, got 'id'"):
            ColumnChoices(drop="id")


class TestFingerprint:
    def test_the_same_data_from_csv_parquet_and_a_frame_have_the_same(self, read_text):
        frame = pd.DataFrame({"x": [1.5, None, 3.0], "z": ["u", None, "u"], "w": ["v", "u", "u"], "y": ["a", "b", "a"]})
        choices = {"keep_constant": True}
        from_frame = read_training_table(
            Table.from_pandas(frame), name="t", target="y", choices=ColumnChoices(**choices)
        )
        assert from_frame.fingerprint() == read_text(frame.to_csv(index=False), **choices).fingerprint()

    def test_any_cell_name_or_order_changes_it(self):
        base = {"x": [1.0, 2.0, 3.0], "z": ["u", "v", "u"], "y": ["a", "b", "a"]}
        variants = [
            base,
            base | {"x": [1.0, 2.0, 3.5]},
            base | {"x": [1.0, 2.0, None]},
            base | {"z": ["u", "v", "v"]},
            base | {"z": ["u", "v", None]},
            base | {"y": ["a", "b", "b"]},
            {"z": base["z"], "x": base["x"], "y": base["y"]},
            {"w": base["x"], "z": base["z"], "y": base["y"]},
        ]
        choices = {"keep_constant": True}
        assert len({read(variant, **choices).fingerprint() for variant in variants}) == len(variants)


def test_an_example_is_what_a_client_would_send():
    table = read(
        {"x": [1, 2, 3], "r": [0.5, 1, None], "z": ["u", None, "u"], "v": ["p", "q", "p"], "y": ["a", "b", "a"]},
        keep_constant=True,
    )
    assert table.example(1) == {"x": 2, "r": 1.0, "z": None, "v": "q"}
    assert table.example(2) == {"x": 3, "r": None, "z": "u", "v": "p"}
    assert type(table.example(1)["x"]) is int
    assert type(table.example(1)["r"]) is float
