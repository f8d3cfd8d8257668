"""Weights, groups, times and a test file decide the use of rows; an invalid value is refused with its row."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from raw_tables import cells, csv_of, read

from models.errors import DataError
from training.cli import build_parser
from training.commands.table import table_of
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.inspection import inspect_table
from training.data.understanding import read_training_table


class TestRoles:
    def test_weight_group_and_time_are_no_features(self):
        table = read(
            {"x": [1, 2, 3], "w": [0.5, 0, 2], "g": ["u", "v", "u"], "y": ["a", "b", "a"]}, weight="w", group="g"
        )
        assert list(table.features) == ["x"]
        np.testing.assert_array_equal(table.weight, [0.5, 0, 2])
        assert table.group[0] == table.group[2] != table.group[1]
        timed = {"x": [1, 2], "t": pa.array([5, 3], pa.date32()), "y": ["a", "b"]}
        assert list(read(timed, time="t").features) == ["x"]
        assert list(read(timed, time="t", keep_time=True).features) == ["x", "t"]
        assert read(timed, time="t").time.argmin() == 1

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            (["1", "-2", "1"], "weight 'x' of data.csv: the value at line 3 is negative."),
            (["1", "inf", "1"], "weight 'x' of data.csv: the value at line 3 is infinite."),
            (["1", "", "1"], "weight 'x' of data.csv has no value at line 3: give every row a weight."),
            (["1", "much", "1"], "weight 'x' of data.csv: 'much' at line 3 is not a number"),
            (["0", "0", "0"], "weight 'x' of data.csv is 0 in every row"),
        ],
    )
    def test_weights_that_are_none_are_refused_with_their_row(self, read_text, weights, message):
        with pytest.raises(DataError) as refused:
            read_text(csv_of(weights), weight="x")
        assert message in str(refused.value)

    @pytest.mark.parametrize("form", ["%d%m%Y", "%m%d%Y", "%d%m%y", "%m%d%y"])
    def test_dates_with_the_year_at_the_end_are_no_numbers_in_order(self, read_text, form):
        days = pd.date_range("2024-01-01", periods=112)
        texts = list(days.strftime(form))
        with pytest.raises(
            DataError, match=rf"time 'x' .* of the form {form}, such as '{texts[0]}' at line 2, .* \(--d"
        ):
            read_text(csv_of(texts), time="x")
        read_in = read_text(csv_of(texts), time="x", date_formats={"x": form})
        assert read_in.time.tolist() == days.to_pydatetime().tolist()
        if form.endswith("%Y"):
            with pytest.raises(DataError, match=r"write them as in ISO 8601"):
                read({"x": [*map(int, texts)], "z": [*range(112)], "y": ["a", "b"] * 56}, time="x")

    def test_other_numbers_are_times(self, read_text):
        for times in (range(10_101, 10_301), [20240101 + i for i in range(28)], [f"{i:06}" for i in range(60)]):
            assert read_text(csv_of(list(times)), time="x").time.argmax() == len(times) - 1

    def test_times_and_groups_that_are_missing_or_have_no_order_are_refused(self, read_text):
        with pytest.raises(DataError, match=r"group 'x' of data.csv has no value at line 3: give every row a group"):
            read_text(csv_of(["u", "", "u"]), group="x")
        with pytest.raises(DataError, match=r"time 'x' of data.csv has no value at line 3: give every row a time"):
            read_text(csv_of([1, "", 2]), time="x")
        with pytest.raises(DataError, match=r"time 'x' of data.csv holds names \('u' at line 2\)"):
            read_text(csv_of(["u", "v", "u"]), time="x")

    @pytest.mark.parametrize(
        ("choices", "message"),
        [
            ({"group": "g", "time": "t"}, "either by group or by time"),
            ({"weight": "g", "group": "g"}, "'g' cannot have two roles"),
            ({"weight": "w", "drop": ("w",)}, "'w' is the weight and cannot be dropped"),
            ({"keep_time": True}, "keep_time needs a time column"),
            ({"date": ("x",), "numeric": ("x",)}, "'x' cannot be both numeric and date"),
        ],
    )
    def test_roles_that_contradict_each_other_are_refused(self, choices, message):
        with pytest.raises(DataError, match=message):
            ColumnChoices(**choices)

    @pytest.mark.parametrize(
        "spellings",
        [
            ("M\xfcller", "Mu\u0308ller"),
            ("P 1", "P  1"),
            ("P 1", "P\xa01"),
            ("anna", "an\u200bna"),
            ("10115", "10115.0"),
            ("TRUE", "true"),
        ],
    )
    def test_a_group_written_in_two_ways_is_one_group_with_a_note(self, write, spellings):
        text = csv_of([spellings[0], "other", spellings[1]])
        table = read_csv(write(text, "data.csv"))
        choices = ColumnChoices(group="x")
        read_table = read_training_table(table, name="t", target="y", choices=choices)
        assert read_table.group[0] == read_table.group[2] != read_table.group[1]
        note = f"Column 'x' writes a group in two ways, such as {spellings[0]!a} and {spellings[1]!a}: it is one."
        assert note in read_table.notes
        facts = next(facts for facts in inspect_table(table, target="y", choices=choices).columns if facts.name == "x")
        assert len(facts.remarks) == 1
        first, second = (read_csv(write(csv_of([name, f"{name} too"]), f"{i}.csv")) for i, name in enumerate(spellings))
        with pytest.raises(DataError, match="at line 2 is a group of the training rows too"):
            read_training_table(first, name="t", target="y", choices=choices, test=second)

    def test_groups_that_people_tell_apart_stay_apart(self, read_text):
        names = ["007", "7", "Anna", "anna", "m2", "m\xb2", "1.10", "1.1"]
        table = read_text(csv_of(names), group="x")
        assert len(set(table.group.tolist())) == len(names)
        assert not any("two ways" in note for note in table.notes)

    def test_a_cell_that_is_missing_once_it_is_read_names_no_group(self, read_text):
        with pytest.raises(DataError, match=r"group 'x' of data.csv: 'N\\u200bA' at line 3 names no group: give every"):
            read_text(csv_of(["u", "N\u200bA", "u"]), group="x")

    def test_the_target_has_no_other_role(self):
        with pytest.raises(DataError, match="column 'y' is the target and cannot be the weight too"):
            read({"x": [1, 2], "y": [1, 2]}, weight="y")

    def test_rows_without_a_target_are_left_out_on_request_and_lines_stay_right(self, read_text):
        text = csv_of([1, 2, 3, 4], target=("a", "", "b", "a"))
        with pytest.raises(DataError, match="--drop-missing-target"):
            read_text(text)
        table = read_text(text, drop_missing_target=True)
        assert table.features["x"].tolist() == [1, 3, 4]
        assert "1 row of data.csv without a target left out." in table.notes
        with pytest.raises(DataError, match="the value at line 4 is negative"):
            read_text(csv_of([1, 2, -3, 4], target=("a", "", "b", "a")), weight="x", drop_missing_target=True)


class TestTestFile:
    TRAIN = "x,c,d,y\n1,u,2024-01-01,a\n2,v,2024-01-02,b\n3,u,2024-01-03,a\n"

    @pytest.fixture
    def both(self, write):
        def read_both(test, *, train=self.TRAIN, **choices):
            return read_training_table(
                read_csv(write(train, "train.csv")),
                name="t",
                target="y",
                choices=ColumnChoices(**choices),
                test=read_csv(write(test, "test.csv")),
            )

        return read_both

    def test_its_rows_come_last_and_are_read_as_the_training_rows_are(self, both):
        table = both("y,d,x,c\nb,2024-02-01,9,w\na,,,v\n")
        assert (table.rows, table.test_rows) == (5, 2)
        np.testing.assert_array_equal(table.features["x"], [1, 2, 3, 9, np.nan])
        assert cells(table, "c") == ["u", "v", "u", "w", "v"]
        assert table.features["d"][3:].astype(str).tolist() == ["2024-02-01T00:00:00.000000", "NaT"]
        assert [table.labels[i] for i in table.target] == ["a", "b", "a", "b", "a"]

    @pytest.mark.parametrize(
        ("test", "message"),
        [
            ("x,c,y\n1,u,a\n", "test.csv has no column 'd', which train.csv has."),
            (
                "x,c,d,y\n1,u,2024-01-01,q\n",
                "target 'y' of test.csv: class 'q' at line 2 is none of the training rows'.",
            ),
            (
                "x,c,d,y\n1,u,2024-01-01,a\nten,u,2024-01-01,a\n",
                "column 'x' of test.csv: 'ten' at line 3 is not a number",
            ),
            ("x,c,d,y\n1,u,soon,a\n", "column 'd' of test.csv: 'soon' at line 2 is not a date"),
            ("x,c,d,y\n1,u,2024-01-01,\n", "target 'y' of test.csv has no value at line 2"),
        ],
    )
    def test_what_does_not_go_with_the_training_rows_is_refused(self, both, test, message):
        with pytest.raises(DataError) as refused:
            both(test)
        assert message in str(refused.value)

    def test_a_column_that_training_has_not_is_passed_over_with_a_note(self, both):
        table = both("x,c,d,y,more\n1,u,2024-01-01,a,5\n")
        assert table.notes[0] == "Column 'more' of test.csv is not in train.csv and was passed over."

    def test_a_group_of_both_files_and_a_time_that_is_not_newer_are_refused(self, both):
        train = "x,k,y\n1,1,a\n2,2,b\n3,3,a\n"
        with pytest.raises(
            DataError, match=r"group 'k' of test.csv: '2' at line 3 is a group of the training rows too"
        ):
            both("x,k,y\n7,4,a\n8,2,b\n", train=train, group="k")
        with pytest.raises(
            DataError, match=r"time 'k' of test.csv: the row at line 3 is not newer than all training rows"
        ):
            both("x,k,y\n7,4,a\n8,3,b\n", train=train, time="k")
        assert both("x,k,y\n7,4,a\n8,9,b\n", train=train, group="k").group.tolist() == [0, 1, 2, 3, 4]


def test_the_command_line_says_all_that_can_be_chosen():
    arguments = build_parser({}).parse_args(
        [
            "fit",
            "f.csv",
            "--target",
            "y",
            "--categorical",
            "a",
            "b",
            "--numeric",
            "c",
            "--date",
            "d",
            "--drop",
            "e",
            "--weight",
            "w",
            "--time",
            "t",
            "--keep-time",
            "--unknown",
            "ignore",
            "--keep-constant",
            "--drop-missing-target",
            "--test",
            "g.csv",
        ]
    )
    given = table_of(arguments)
    assert given["test"] == "g.csv"
    assert given["choices"] == ColumnChoices(
        categorical=("a", "b"),
        numeric=("c",),
        date=("d",),
        drop=("e",),
        weight="w",
        time="t",
        keep_time=True,
        unknown="ignore",
        keep_constant=True,
        drop_missing_target=True,
    )
    grouped = table_of(build_parser({}).parse_args(["fit", "f.csv", "--group", "g"]))
    assert grouped["choices"] == ColumnChoices(group="g")
    assert "test" not in grouped
