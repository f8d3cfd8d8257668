"""Columns of dates in the forms of databases and spreadsheets are read, remarked on, and served in the same form."""

import json
import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from raw_tables import csv_of, kinds, read

from models.checkpoint import load_checkpoint
from models.columns.date_forms import NUMBER_FORMS, TEXT_FORMS
from models.columns.encoding import RowEncoder
from models.columns.schema import Schema
from models.errors import DataError, RowError
from training.cli import main
from training.commands import options
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.data.preprocessing import encode, fit_schema
from training.data.source import read_source
from training.data.table import Table
from training.data.understanding import read_training_table

DAYS = pd.date_range("2023-01-29", periods=40, freq="17D")
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2039, 1, 1)).map(lambda moment: moment.replace(microsecond=0))
ORDERS = [form for form in TEXT_FORMS if form.startswith(("%d/%m", "%m/%d", "%d-%m", "%m-%d"))]


def fitted(table, **how):
    rows = np.arange(table.rows)
    schema = fit_schema(table, rows, scaling="robust", **how)
    return schema, encode(schema, table, rows)


def table_of(texts, **choices):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t.csv")
        pd.DataFrame({"x": texts, "z": np.arange(len(texts)), "y": ["ab"[i % 2] for i in range(len(texts))]}).to_csv(
            path, index=False
        )
        return read_training_table(read_csv(path), name="t", target="y", choices=ColumnChoices(**choices))


def served(schema, cells, count):
    rows = orjson.loads(orjson.dumps([{"x": cell, "z": i} for i, cell in enumerate(cells)]))
    encoder = RowEncoder(schema)
    return b"".join(encoder.encode(rows[i : i + count]) for i in range(0, len(rows), count))


class TestFound:
    @pytest.mark.parametrize("form", TEXT_FORMS)
    @pytest.mark.parametrize("is_typed", [False, True])
    def test_a_column_of_one_form_is_read_and_served_alike(self, form, is_typed):
        days = DAYS.normalize() if "%H" not in form else DAYS + pd.Timedelta(hours=13, minutes=7)
        texts = list(days.strftime(form))
        columns = {"x": texts, "z": np.arange(40), "y": list("ab" * 20)}
        table = read(columns) if is_typed else table_of(texts)
        expected = pd.to_datetime(texts, format=form).to_numpy().astype("datetime64[us]")
        np.testing.assert_array_equal(table.features["x"], expected)
        assert table.date_forms == {"x": form}
        assert f"'x' holds dates of the form {form}" in table.notes[0]
        schema, matrix = fitted(table)
        iso = [pd.Timestamp(moment).isoformat() for moment in expected]
        for cells in (texts, iso):
            for count in (1, 40):
                assert served(schema, cells, count) == matrix.tobytes()

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(ORDERS), st.lists(MOMENTS, min_size=2, max_size=40, unique=True))
    @example("%m/%d/%y", [datetime(2024, 2, 15, 19, 43), datetime(2024, 3, 4)])
    @example("%d-%m-%y", [datetime(2001, 1, 1), datetime(2001, 1, 13)])
    def test_day_and_month_are_told_by_the_column_or_refused(self, form, moments):
        texts = [moment.strftime(f"{form} %I:%M:%S %p") for moment in moments]
        if any(moment.day > 12 for moment in moments):
            try:
                table = table_of(texts)
            except DataError as refusal:  # few rows do not tell the day from a year of two digits
                if form != "%d-%m-%y" or "--date-format x=%y-%m-%d" not in str(refusal):
                    raise
                table = table_of(texts, date_formats={"x": form})
            assert table.date_forms == {"x": form}
            assert table.features["x"].tolist() == moments
            schema, matrix = fitted(table)
            assert served(schema, [f" {text}" for text in texts], 1) == matrix.tobytes()
            assert served(schema, texts, 40) == matrix.tobytes()
        else:
            with pytest.raises(DataError, match=r"--date-format x=%d.%m.%[yY],? (and|or) .*--date-format x=%m.%d"):
                table_of(texts)
            assert table_of(texts, date_formats={"x": form}).features["x"].tolist() == moments

    @pytest.mark.parametrize(
        "texts",
        [
            [f"{i % 20 + 5:02}-{i % 12 + 1:02}-01" for i in range(60)],  # the first of each month, or a year's days
            [f"{i % 12 + 10:02}-05-{i % 9 + 10:02}" for i in range(60)],
            ["24-03-01"] * 5 + ["05-03-24"] * 5,
        ],
    )
    def test_two_digits_that_may_be_year_or_day_are_refused(self, texts):
        with pytest.raises(DataError, match=r"is 20.* by --date-format x=%y-%m-%d, .* and no cell of the column tells"):
            table_of(texts)
        assert table_of(texts, date_formats={"x": "%y-%m-%d"}).date_forms == {"x": "%y-%m-%d"}

    @pytest.mark.parametrize("form", ["%y-%m-%d", "%d-%m-%y"])
    def test_more_days_than_years_tell_where_the_year_is(self, form):
        days = pd.date_range("2024-01-01", periods=112)
        assert table_of(list(days.strftime(form))).features["x"].tolist() == days.to_pydatetime().tolist()

    @pytest.mark.parametrize("suffix", [" UTC", "Z", " GMT", "+00", "+00:00", ".000 UTC", ".000000+0000", " Z"])
    def test_utc_may_be_written_in_any_way(self, suffix):
        plain = table_of(list(DAYS.strftime("%Y-%m-%d %H:%M:%SZ")))
        texts = [f"{day:%Y-%m-%d %H:%M:%S}{suffix}" for day in DAYS]
        table = table_of(texts)
        assert table.fingerprint() == plain.fingerprint()
        assert (table.date_forms, table.notes) == (plain.date_forms, plain.notes) == ({}, plain.notes)
        schema, matrix = fitted(table)
        assert served(schema, texts, 1) == served(schema, texts, 40) == matrix.tobytes()

    def test_gaps_are_gaps_in_each_form(self):
        texts = ["15/02/2024", "NA", "16/02/2024", ""]
        schema, matrix = fitted(table_of(texts))
        assert served(schema, [None, "16/02/2024", " ", "15/02/2024"], 4) != matrix.tobytes()
        assert served(schema, texts, 1) == served(schema, [texts[0], None, texts[2], None], 4) == matrix.tobytes()

    @pytest.mark.parametrize(
        ("form", "gap"),
        [("%Y-%m-%d %H:%M:%S", "0000-00-00 00:00:00"), ("%Y-%m-%d", r"\N"), ("%d/%m/%Y", "?"), ("%b %d, %Y", "-")],
    )
    def test_what_stands_for_missing_among_dates_is_a_gap_with_a_note(self, form, gap):
        table = table_of([gap if i % 4 == 0 else day.strftime(form) for i, day in enumerate(DAYS)])
        assert kinds(table)["x"] == "date"
        assert table.missing("x").sum() == 10
        assert any(f"{gap!r} as missing" in note for note in table.notes)
        assert table.features["x"][1].item() == DAYS[1].normalize().to_pydatetime()

    def test_another_column_tells_of_day_and_month(self, read_text):
        rows = [f"{13 + i}/02/1990,0{i + 1}/03/2024,{i % 2}" for i in range(9)]
        table = read_text("born,joined,y\n" + "\n".join(rows) + "\n")
        assert table.features["joined"].tolist() == [datetime(2024, 3, day) for day in range(1, 10)]
        assert "with the day first as in column 'born'" in table.notes[1]

    def test_two_columns_that_contradict_each_other_tell_nothing(self, read_text):
        rows = [f"{13 + i}/02/1990,0{i + 1}/03/2024,02/{13 + i}/2024,{i % 2}" for i in range(9)]
        with pytest.raises(DataError, match=r"column 'joined' .* no cell of the column tells which"):
            read_text("born,joined,left,y\n" + "\n".join(rows) + "\n")

    def test_points_have_the_day_first_with_a_note_where_no_cell_shows_it(self):
        table = table_of(["03.02.2024", "01.02.2024"])
        assert table.features["x"].tolist() == [datetime(2024, 2, 3), datetime(2024, 2, 1)]
        assert "should it not: --date-format x=%m.%d.%Y." in table.notes[0]
        assert table_of(["03.02.2024", "01.02.2024"], date_formats={"x": "%m.%d.%Y"}).features["x"].tolist() == [
            datetime(2024, 3, 2), datetime(2024, 1, 2)
        ]  # fmt: skip
        assert "should it not" not in table_of(["03.02.2024", "31.01.2024"]).notes[0]

    def test_points_have_the_month_first_where_a_cell_shows_it(self):
        table = table_of(["03.02.2024", "01.22.2024"])
        assert table.features["x"].tolist() == [datetime(2024, 3, 2), datetime(2024, 1, 22)]

    def test_both_orders_in_one_column_are_refused(self):
        with pytest.raises(DataError, match=r"at line 2 is of the form %d/%m/%Y and '02/13/2024' at line 13 of"):
            table_of(["13/02/2024", *["03/02/2024"] * 10, "02/13/2024"])

    def test_a_slip_is_refused_with_its_line(self):
        for slip in ("soon", "2024-02-13", "31/02/2024"):
            with pytest.raises(DataError, match=rf"'{slip}' at line 2 is not a date of the form %d/%m/%Y, while 39 of"):
                table_of([slip, *DAYS[1:].strftime("%d/%m/%Y")])

    @pytest.mark.parametrize(
        "texts", [["1.2.10", "1.10.11", "2.4.10"] * 9, ["a1b22", "c3d44"] * 2, ["07:43", "07:45"] * 2]
    )
    def test_what_is_no_date_stays_what_it_was(self, texts):
        table = table_of(texts)
        assert (kinds(table)["x"], table.date_forms) == ("categorical", {})


class TestNumbers:
    @pytest.mark.parametrize(
        ("name", "form", "numbers"),
        [
            ("created_at", "epoch-seconds", (DAYS - pd.Timestamp(0)) / pd.Timedelta("1s")),
            ("updatedAt", "epoch-milliseconds", (DAYS - pd.Timestamp(0)) / pd.Timedelta("1ms")),
            ("timestamp_us", "epoch-microseconds", (DAYS - pd.Timestamp(0)) / pd.Timedelta("1us")),
            ("event_time", "epoch-nanoseconds", (DAYS - pd.Timestamp(0)) / pd.Timedelta("1ns")),
            ("Sale Date", "excel-days", (DAYS - pd.Timestamp("1899-12-30")) / pd.Timedelta("1D")),
            ("x", "%Y%m%d", DAYS.strftime("%Y%m%d").astype(float)),
            ("x", "%Y%m%d%H%M%S", DAYS.strftime("%Y%m%d%H%M%S").astype(float)),
        ],
    )
    @pytest.mark.parametrize("is_typed", [False, True])
    def test_numbers_that_are_plainly_moments_are_read_as_such(self, name, form, numbers, is_typed, tmp_path):
        frame = pd.DataFrame({name: numbers.astype("int64"), "z": np.arange(40), "y": list("ab" * 20)})
        path = tmp_path / "t.csv"
        frame.to_csv(path, index=False)
        source = frame if is_typed else path
        table = read_training_table(read_source(source), name="t", target="y")
        assert table.features[name].tolist() == [day.to_pydatetime() for day in DAYS]
        assert table.date_forms == {name: form}
        assert "As numbers: --numeric" in table.notes[0]
        schema, matrix = fitted(table)
        whole = [int(number) for number in numbers]
        for cells in (whole, [float(number) for number in whole], list(map(str, whole)), list(DAYS.strftime("%FT%TZ"))):
            rows = [[cell, i] for i, cell in enumerate(cells)]
            assert RowEncoder(schema).encode(rows) == matrix.tobytes()
            assert b"".join(RowEncoder(schema).encode([row]) for row in rows) == matrix.tobytes()
        as_numbers = read_training_table(
            read_source(source), name="t", target="y", choices=ColumnChoices(numeric=(name,))
        )
        assert (kinds(as_numbers)[name], as_numbers.notes[:-1]) == ("numeric", ())

    @pytest.mark.parametrize(
        ("name", "form", "numbers"),
        [
            ("x", "epoch-seconds", [1_708_000_000, 1_709_000_000]),
            ("x", "epoch-milliseconds", [1_708_000_000_000, 1_709_000_000_000]),
            ("x", "excel-days", [45_337.25, 45_400.5]),
            ("date", "epoch-days", [19_000, 19_500]),
            ("x", "%Y%m%d", [20240215, 20240216]),
            ("created_at", "epoch-seconds", [1_708_000_000, 1_709_000_000, 0]),
        ],
    )
    def test_numbers_that_look_like_moments_are_told_with_the_option_that_works(self, name, form, numbers, read_text):
        text = csv_of(numbers * 3).replace("x,", f"{name},", 1)
        table = read_text(text)
        assert kinds(table)[name] == "numeric"
        assert "looks like" in table.notes[0]
        typed = options.date_format(table.notes[0].split("--date-format ")[1].rstrip("."))
        assert typed == (name, form)
        assert kinds(read_text(text, date_formats=dict([typed])))[name] == "date"

    @pytest.mark.parametrize(
        ("name", "numbers"),
        [
            ("income", [40_000, 45_000, 52_000]),
            ("time", [1, 406, 172_792]),
            ("date", [1, 2, 3]),
            ("phone", [4_917_012_345, 4_917_199_999]),
            ("code", [20240215, 20241315]),
            ("year", [2019, 2020]),
            ("zip", [10_115, 45_337]),
        ],
    )
    def test_other_numbers_stay_numbers_without_a_word(self, name, numbers, read_text):
        table = read_text(csv_of(numbers * 3).replace("x,", f"{name},", 1))
        assert (kinds(table)[name], table.notes) == ("numeric", ())

    def test_numbers_of_many_digits_are_told_to_be_rounded_and_not_to_be_moments(self, read_text):
        table = read_text(csv_of([1_700_000_000_000_000_000, 1_700_000_500_000_000_000] * 3))
        assert kinds(table)["x"] == "numeric"
        assert [note.partition(" from 2**53")[0] for note in table.notes] == ["Column 'x' has whole numbers"]

    def test_numbers_that_are_to_be_dates_are_read_where_one_form_fits(self):
        table = table_of([1_708_000_000, 1_709_000_000], date=("x",))
        assert table.date_forms == {"x": "epoch-seconds"}
        with pytest.raises(DataError, match=r"holds numbers, not dates: .* such as --date-format x=epoch-seconds"):
            table_of([1, 2], date=("x",))
        with pytest.raises(DataError, match="holds numbers, which are no dates of the form %d/%m/%Y"):
            table_of([1, 2], date_formats={"x": "%d/%m/%Y"})
        with pytest.raises(DataError, match=r"20241315 at line 3 is not a date of the form %Y%m%d"):
            table_of([20240215, 20241315], date_formats={"x": "%Y%m%d"})


class TestServed:
    def test_the_form_travels_in_the_schema(self):
        texts = list(DAYS.strftime("%Y-%m-%d %H:%M:%S"))
        for form in (None, *TEXT_FORMS, *NUMBER_FORMS):
            schema, _ = fitted(table_of(texts, date_formats={"x": form} if form else {}))
            assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
            assert schema.columns[0].form == form

    def test_a_cell_of_another_form_is_refused_with_the_form(self):
        schema, _ = fitted(table_of(list(DAYS.strftime("%d/%m/%Y"))))
        for cell in ("02/13/2024", 20240213, True, "13.02.2024"):
            with pytest.raises(RowError, match=r"is not a date \(ISO 8601, .*, or %d/%m/%Y as in the training table"):
                RowEncoder(schema).encode([[cell, 1]])

    def test_a_form_in_a_checkpoint_is_checked(self):
        raw = fitted(table_of(list(DAYS.strftime("%d/%m/%Y"))))[0].to_dict()
        raw["columns"][0]["form"] = "%d/(a+)+"
        with pytest.raises(DataError, match=r"column 'x': '%d/.* is not a form of dates"):
            Schema.from_dict(raw)


class TestOtherTables:
    def test_a_test_file_has_the_form_of_the_training_rows(self, tmp_path):
        (tmp_path / "train.csv").write_text(csv_of(DAYS.strftime("%m/%d/%Y")))
        (tmp_path / "test.csv").write_text(csv_of(["03/02/2030", "04/02/2030"]))
        for choices in (ColumnChoices(), ColumnChoices(time="x"), ColumnChoices(time="x", keep_time=True)):
            table = read_training_table(
                read_csv(tmp_path / "train.csv"),
                name="t",
                target="y",
                choices=choices,
                test=read_csv(tmp_path / "test.csv"),
            )
            times = table.features["x"] if choices.time is None else table.time
            assert times[-2:].tolist() == [datetime(2030, 3, 2), datetime(2030, 4, 2)]
            assert sum("holds dates of the form %m/%d/%Y" in note for note in table.notes) == 1

    def test_a_frame_is_read_as_its_file_is(self):
        texts = list(DAYS.strftime("%d-%b-%Y"))
        frame = pd.DataFrame({"x": texts, "z": np.arange(40), "y": list("ab" * 20)})
        from_frame = read_training_table(Table.from_pandas(frame), name="t", target="y")
        assert from_frame.fingerprint() == table_of(texts).fingerprint()
        assert from_frame.date_forms == {"x": "%d-%b-%Y"}

    def test_epochs_that_are_texts_of_a_typed_table_are_read(self):
        seconds = [str(1_708_000_000 + i) for i in range(40)]
        table = read({"created_at": seconds, "z": np.arange(40), "y": list("ab" * 20)})
        assert table.date_forms == {"created_at": "epoch-seconds"}
        schema, matrix = fitted(table)
        for cells in (seconds, [int(text) for text in seconds]):
            assert RowEncoder(schema).encode([[cell, i] for i, cell in enumerate(cells)]) == matrix.tobytes()

    def test_a_column_of_a_typed_table_with_one_other_text_stays_names(self):
        table = read(
            {"x": pa.array([*DAYS.strftime("%d/%m/%Y"), "soon"] * 2), "z": np.arange(82), "y": list("ab" * 41)}
        )
        assert kinds(table)["x"] == "categorical"


def test_the_command_takes_the_options_that_the_refusal_offers(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text("my date,z,y\n" + "".join(f"0{1 + i % 9}/02/2024,{i * i},{i % 2}\n" for i in range(30)))
    main(["inspect", str(path), "--target", "y"])
    assert "--date-format 'my date=%d/%m/%Y'" in capsys.readouterr().out
    main(["inspect", str(path), "--target", "y", "--date-format", "my date=%d/%m/%Y", "--json"])
    column = json.loads(capsys.readouterr().out)["columns"][0]
    assert (column["kind"], column["minimum"], column["maximum"]) == ("date", "2024-02-01", "2024-02-09")


def test_a_model_of_such_dates_is_trained_kept_and_asked(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("when,z,y\n" + "".join(f"{day:%d/%m/%Y %H:%M},{day.day},{day.month % 2}\n" for day in DAYS))
    options_of_fit = ["--epochs", "2", "--hidden", "4", "--no-report", "--store", str(tmp_path / "store")]
    main(["fit", str(path), "--target", "y", *options_of_fit])
    encoder = RowEncoder(load_checkpoint(tmp_path / "store" / "t" / "1" / "model.safetensors").checkpoint.schema)
    assert encoder.encode([["15/02/2024 07:43", 1]]) == encoder.encode([["2024-02-15T07:43Z", 1]])
