"""Cells decide the kind of a column; data that cannot be learned from are refused, with column and row."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from raw_tables import cells, csv_of, kinds, read

from models.columns.encoding import RowEncoder
from models.errors import DataError
from training.data.csv_file import read_csv
from training.data.preprocessing import fit_schema
from training.data.table import Table
from training.data.training_table import ColumnChoices
from training.data.understanding import read_training_table


class TestKinds:
    def test_types_of_parquet_and_frames_are_taken_at_their_word(self):
        columns = {
            "whole": [1, 2, 3, 4],
            "real": [0.5, 1, 2, 3],
            "small": pa.array([1, 2, 3, 5], pa.uint8()),
            "name": ["u", "v", "u", "v"],
            "numbered_name": ["1", "2", "1", "2"],
            "flag": [True, False, True, False],
            "dictionary": pa.array(["u", "v", "v", "v"]).dictionary_encode(),
            "numbers_dictionary": pa.array([5, 6, 6, 6]).dictionary_encode(),
            "day": pa.array([1, 2, 3, 4], pa.date32()),
            "moment": pa.array([1, 2, 3, 4], pa.timestamp("s", "Europe/Berlin")),
            "large": pa.array(["u", "u", "v", "u"], pa.large_string()),
            "iso": ["2024-05-31", "2024-06-01", "2024-05-31", "2024-05-31"],
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
            "numbers_dictionary": "numeric",
            "day": "date",
            "moment": "date",
            "large": "categorical",
            "iso": "date",
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
            assert cells(table, "x") == ["true", "false", "true"]

    def test_whole_numbers_that_a_gap_turned_into_floats_are_named_whole(self, read_text):
        choices = {"categorical": ("x",)}
        for table in (
            read({"x": [1.0, None, 20.0, 1.0], "y": ["a", "b", "a", "b"]}, **choices),
            read({"x": [1.0, math.nan, 20.0, 1.0], "y": ["a", "b", "a", "b"]}, **choices),
            read({"x": [1, None, 20, 1], "y": ["a", "b", "a", "b"]}, **choices),
            read_text(csv_of(["1.0", "", "20.0", "1.0"]), **choices),
        ):
            assert cells(table, "x") == ["1", None, "20", "1"]

    def test_a_postcode_read_as_a_name_keeps_its_leading_zero(self, read_text):
        table = read_text(csv_of(["01067", "10115", "01067"]), categorical=("x",))
        assert cells(table, "x") == ["01067", "10115", "01067"]

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

    @pytest.mark.parametrize("values", [[0.5, 1.0, 2.0], list(range(21)) * 3, [0, 0, 0, 1, 1, 1, 2, 2]])
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
            (csv_of([1, "inf", 2]), "column 'x' of data.csv: the value at line 3 is infinite."),
            (csv_of([1, 2, "-Infinity"]), "column 'x' of data.csv: the value at line 4 is infinite."),
            (csv_of([1, 2, "1e39"]), "column 'x' of data.csv: the value at line 4 is too large"),
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
            ("x,y\n1,a\n1,b\n", "has no column to learn from beside the target 'y': Column 'x' has one value only, 1,"),
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
        assert "n/a?" in cells(read_text(csv_of([*TEN, *TEN, "n/a?"]), categorical=("x",)), "x")

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

    @pytest.mark.parametrize("values", [pa.array([{"a": 1}, None]), pa.array([[1], [2]]), pa.array([b"u", b"v"])])
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


class TestLeftOut:
    @pytest.mark.parametrize(
        ("column", "note"),
        [
            ([1, 1, 1], "Column 'x' has one value only, 1, and was left out."),
            (["u", "u", "u"], "Column 'x' has one value only, 'u', and was left out."),
            (["2024-05-31"] * 3, "Column 'x' has one value only, 2024-05-31, and was left out."),
            (["", "NA", ""], "Column 'x' has no value at all and was left out."),
            (["u", "v", "w"], "Column 'x' has another name in each row, as an identifier has, and was left out."),
        ],
    )
    def test_a_column_that_tells_nothing_is_left_out_with_a_note(self, read_text, column, note):
        table = read_text(csv_of(column))
        assert list(table.features) == ["z"]
        assert table.notes == (note,)

    def test_a_name_that_some_rows_lack_tells_those_apart(self, read_text):
        assert cells(read_text(csv_of(["u", "", "u"])), "x") == ["u", None, "u"]

    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            ("1", "categorical"),
            ("1.0", "categorical"),
            ("1.5", "numeric"),
            ("vip", "categorical"),
            ("2024-05-31", "date"),
            ("True", "categorical"),
        ],
    )
    def test_one_value_and_gaps_are_a_feature_of_any_kind(self, read_text, value, kind):
        table = read_text(csv_of([value, "", value, "NA"]))
        assert kinds(table) == {"x": kind, "z": "numeric"}
        assert table.missing("x").tolist() == [False, True, False, True]
        assert table.notes == ()

    def test_another_number_than_the_only_one_is_unknown_and_counted(self, read_text):
        table = read_text(csv_of(["1", "", "1", "NA"]))
        encoder = RowEncoder(fit_schema(table, np.arange(4)))
        assert encoder.encode_matrix([[1, 0], [1.0, 0], [None, 0], [0, 0], [2.5, 0]])[:, 0].tolist() == [1, 1, 0, 0, 0]
        assert encoder.unknown.take() == {"x": 2}
        assert kinds(read_text(csv_of(["1", "", "1", "NA"]), numeric=("x",)))["x"] == "numeric"

    def test_a_test_file_may_write_the_only_number_in_another_way(self, tmp_path):
        (tmp_path / "train.csv").write_text(csv_of(["1", "", "1", "NA"]))
        (tmp_path / "test.csv").write_text(csv_of(["1.0", "", "01", "2"]).replace(",", ";").replace("1.0", "1,0"))
        train, test = read_csv(tmp_path / "train.csv"), read_csv(tmp_path / "test.csv")
        table = read_training_table(train, name="t", target="y", test=test)
        assert cells(table, "x") == ["1", None, "1", None, "1", None, "1", "2"]

    @pytest.mark.parametrize("value", ["1", "vip", "2024-05-31"])
    def test_a_value_in_one_row_only_is_left_out(self, read_text, value):
        table = read_text(csv_of([value, "", "", ""]))
        assert list(table.features) == ["z"]
        assert "in one row only, and was left out." in table.notes[0]

    def test_of_equal_columns_the_first_is_kept_whatever_wrote_them(self, read_text):
        table = read_text("a,b,c,y\n1,1.0,1,p\n2,2.00,2,q\n,NA,3,p\n")
        assert list(table.features) == ["a", "c"]
        assert table.notes == ("Column 'b' equals 'a' in every row and was left out.",)

    def test_a_table_of_pixels_keeps_all_of_them_on_request(self, read_text):
        table = read_text("a,b,c,d,y\n0,0,1,1,p\n0,0,2,2,q\n", keep_constant=True)
        assert list(table.features) == ["a", "b", "c", "d"]

    @pytest.mark.parametrize(
        ("name", "numbers", "is_noted"),
        [
            ("row", list(range(100, 140)), True),
            ("row", [*range(20, 40), *range(20)], True),
            ("user_id", [i * i for i in range(40)], True),
            ("customerId", [i * 7 for i in range(40)], True),
            ("paid", [i * i for i in range(40)], False),
            ("user_id", [i // 2 for i in range(40)], False),
            ("row", [i + 0.5 for i in range(40)], False),
        ],
    )
    def test_numbers_that_only_tell_rows_apart_are_warned_of_and_kept(self, name, numbers, is_noted):
        table = read({name: numbers, "z": [i % 3 for i in range(40)], "y": ["a", "b"] * 20})
        assert name in table.features
        assert any("looks like an identifier" in note for note in table.notes) == is_noted


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


@pytest.mark.parametrize(
    ("choices", "remedy"),
    [
        ({"categorical": ["y"]}, "--task classification"),
        ({"numeric": ["y"]}, "--task regression"),
        ({"date": ["y"]}, "a time is predicted as a number"),
        ({"date_formats": {"y": "%d.%m.%Y"}}, "for --time"),
    ],
)
def test_a_kind_of_features_is_no_kind_of_target(choices, remedy):
    with pytest.raises(DataError, match=f"column 'y' is the target, and --.* is for columns to learn from.*{remedy}"):
        read({"x": [1.0, 2.5, 3.25, 4.0], "y": [1.5, 2.25, 3.0, 4.75]}, **choices)


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize(("task", "reason"), [(None, "a time is predicted as a number"), ("regression", "of numbers")])
def test_dates_are_no_target_unless_asked_for_as_classes(typed, task, reason):
    days = ["2024-05-31", "2024-06-01"] * 6
    columns = {"x": list(range(12)), "day": pd.to_datetime(days) if typed else days}
    with pytest.raises(DataError, match=f"'day' of the table holds dates .* at row 0.*{reason}.*days since"):
        read(columns, target="day", task=task)
    if not typed:
        assert read(columns, target="day", task="classification").labels == ("2024-05-31", "2024-06-01")
