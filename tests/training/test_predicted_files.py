"""A file to predict is read as the training table was, or refused, and never in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from axon.import_rows import rows_and_statistics
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.data.csv_file import read_csv
from training.fit import fit
from training.predictions import predict_table

ROWS = 60
AREAS = [1000 + 37 * i for i in range(ROWS)]
POINTED = [f"{area:,}".replace(",", ".") for area in AREAS]  # 1.000, 1.037, …
CHOICES = {"target": "rent", "epochs": 1, "hidden_sizes": (4,), "seed": 0}


def csv(sep: str = ",", **columns: list[Any]) -> str:
    return pd.DataFrame(columns).to_csv(index=False, sep=sep)


def rents() -> list[int]:
    return [1_000_000 + 12_345 * i for i in range(ROWS)]


def cities() -> list[str]:
    return ["Bonn", "Köln"] * (ROWS // 2)


@pytest.fixture
def trained(write, tmp_path):
    """Trains on a CSV text, and returns the model and the function that predicts a text by the command."""

    def train(text, **options):
        model = fit(write(text, "train.csv"), **(CHOICES | {"name": "rents"} | options))
        model.publish(Store(tmp_path / "store"))
        return model, answered

    def answered(text, *options, name="new.csv"):
        path = text if isinstance(text, Path) else write(text, name)
        out = tmp_path / "out.csv"
        out.unlink(missing_ok=True)
        line = ["predict", str(path), "--model", "rents", "--store", str(tmp_path / "store"), "--out", str(out)]
        code = main([*line, *options])
        return pd.read_csv(out)["prediction"].to_numpy() if code == 0 else None

    return train


class TestPredictedFiles:
    def expected(self, model, **columns):
        return np.array(model.predict(pd.DataFrame(columns)))

    @pytest.mark.parametrize(
        ("rent", "options"),
        [
            ([f"{rent:,}".replace(",", ".") for rent in rents()], {}),
            ([str(rent) for rent in rents()], {"thousands": "."}),
        ],
    )
    def test_numbers_are_read_with_the_marks_of_training(self, trained, capsys, rent, options):
        model, answered = trained(csv(area=POINTED, city=cities(), rent=rent), **options)
        answers = answered(csv(area=POINTED, city=cities()))
        np.testing.assert_allclose(answers, self.expected(model, area=AREAS, city=cities()), rtol=1e-6)
        assert (
            "Column 'area' of new.csv is read as numbers: '1.000' is 1000 (the dot divides thousands, as in the "
            "training table).\n" in capsys.readouterr().err
        )

    def test_an_option_of_the_user_goes_before_the_marks_of_training(self, trained):
        rent = [f"{rent:,}".replace(",", ".") for rent in rents()]
        model, answered = trained(csv(area=POINTED, city=cities(), rent=rent))
        answers = answered(csv(area=POINTED, city=cities()), "--decimal", ".")
        small = [area / 1000 for area in AREAS]
        np.testing.assert_allclose(answers, self.expected(model, area=small, city=cities()), rtol=1e-6)

    def test_a_file_that_shows_other_marks_than_training_is_refused(self, trained, capsys):
        _, answered = trained(csv(";", area=POINTED, fee=["4,06", "3,5"] * 30, rent=rents()))
        assert answered(csv(";", area=POINTED, fee=["4.06", "3.5"] * 30)) is None
        error = capsys.readouterr().err
        assert "'1.000' at line 2 has two readings, 1 where the dot is the decimal mark" in error
        assert "the file says one, as '4.06' in column 'fee' shows, and the training table the other: say it" in error

    def test_a_model_that_does_not_tell_its_marks_is_answered_with_a_note(self, trained, tmp_path, capsys):
        model, answered = trained(csv(area=POINTED, city=cities(), rent=rents()), thousands=".")
        data = {name: value for name, value in model.checkpoint.data.items() if name != "numbers"}
        Store(tmp_path / "store").publish("rents", replace(model.checkpoint, data=data))
        answers = answered(csv(area=POINTED, city=cities()))
        small = [area / 1000 for area in AREAS]
        np.testing.assert_allclose(answers, self.expected(model, area=small, city=cities()), rtol=1e-6)
        assert "of new.csv is read as numbers: '1.000' is 1, where" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("before", "after", "said"),
        [
            (lambda i: f"0.{i + 10}", lambda i: f"{i + 10} %", "numbers with the sign '%' ('10 %' at line 2), and the"),
            (lambda i: f"{i + 10} %", lambda i: f"0.{i + 10}", "numbers without a sign ('0.10' at line 2), and the"),
            (lambda i: f"${i + 10}", lambda i: f"€{i + 10}", "numbers with the sign '€' ('€10' at line 2), and the"),
            (lambda i: f"{i + 10} ‰", lambda i: f"{i + 10} %", "numbers with the sign '%' ('10 %' at line 2), and the"),
        ],
    )
    def test_another_unit_than_that_of_training_is_refused(self, trained, capsys, before, after, said):
        _, answered = trained(csv(share=[before(i) for i in range(ROWS)], city=cities(), rent=rents()))
        assert answered(csv(share=[before(i) for i in range(ROWS)], city=cities())) is not None
        assert answered(csv(share=[after(i) for i in range(ROWS)], city=cities())) is None
        assert f"column 'share' of new.csv has {said} training table has them with" in capsys.readouterr().err

    @pytest.mark.parametrize(("before", "after"), [("$", ""), ("", "$"), ("%", "％")])
    def test_a_currency_may_be_left_out_and_signs_of_per_cent_are_alike(self, trained, before, after):
        model, answered = trained(csv(fee=[f"{i + 10}{before}" for i in range(ROWS)], rent=rents()))
        answers = answered(csv(fee=[f"{i + 10}{after}" for i in range(ROWS)]))
        np.testing.assert_allclose(answers, self.expected(model, fee=[i + 10.0 for i in range(ROWS)]), rtol=1e-6)

    def test_values_declared_missing_in_training_are_gaps(self, trained, tmp_path, capsys):
        area = [-9999 if i % 3 == 0 else area for i, area in enumerate(AREAS)]
        city = ["?" if i % 4 == 0 else city for i, city in enumerate(cities())]
        options = {"missing_values": ["area=-9999", "?"], "choices": ColumnChoices(drop=("id",))}
        model, answered = trained(csv(id=[*range(ROWS)], area=area, city=city, rent=rents()), **options)
        assert [column.gaps for column in model.checkpoint.schema.columns] == [(-9999.0,), ("?",)]
        text = csv(id=["?", -9999, 7], area=["-9999.0", 1000, 1037], city=["Bonn", "?", "Köln"])
        answers = answered(text)
        expected = self.expected(model, area=[np.nan, 1000, 1037], city=["Bonn", None, "Köln"])
        np.testing.assert_allclose(answers, expected, rtol=1e-6)
        told = capsys.readouterr().err
        assert "1 cell of new.csv is '-9999', a missing value, as in the training table" in told
        assert "1 cell of new.csv is '?', a missing value, as in the training table.\n" in told
        kept = pd.read_csv(tmp_path / "out.csv", dtype=str)  # the file itself stays as it is
        assert kept["id"].tolist() == ["?", "-9999", "7"]
        assert kept["area"].tolist() == ["-9999.0", "1000", "1037"]
        answered(csv(area=AREAS, city=cities()))
        assert "a missing value" not in capsys.readouterr().err

    def test_columns_beside_the_models_come_out_as_they_were(self, trained, tmp_path):
        _, answered = trained(csv(area=AREAS, rent=rents()))
        written = ["NA", "null", " a ", "\ufeffz", "", "007", "nan", 'say "x, y"']
        area = [" 1000", *AREAS[1:8]]
        assert answered(csv(land=written, area=area, code=["1.50"] * 8)) is not None
        kept = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
        assert kept["land"].tolist() == written
        assert kept["area"].tolist() == list(map(str, area))
        assert kept["code"].tolist() == ["1.50"] * 8
        table = pa.table({"land": written, "kind": pa.array(written).dictionary_encode(), "area": AREAS[:8]})
        pq.write_table(table, tmp_path / "new.parquet")
        answered(tmp_path / "new.parquet")
        kept = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
        assert kept["land"].tolist() == kept["kind"].tolist() == written

    def test_a_column_that_the_file_cannot_hold_is_named_and_nothing_is_written(self, trained, tmp_path, capsys):
        _, answered = trained(csv(area=AREAS, rent=rents()))
        table = pa.table({"area": AREAS, "tags": [["a", "b"]] * ROWS, "raw": [b"\xff\xfe"] * ROWS})
        for name, kind in (("tags", "list<"), ("raw", "binary")):
            pq.write_table(table.select(["area", name]), tmp_path / "new.parquet")
            assert answered(tmp_path / "new.parquet") is None
            assert not (tmp_path / "out.csv").exists()
            error = capsys.readouterr().err
            assert f"column '{name}' of new.parquet is of the type {kind}" in error
            assert "write Parquet (--out FILE.parquet)" in error

    def test_labels_beyond_63_bits_are_written(self, trained, tmp_path):
        labels = [18446744073709551615, 18446744073709551614] * (ROWS // 2)
        _, answered = trained(csv(area=AREAS, label=labels), target="label", hidden_sizes=())
        assert answered(csv(area=AREAS)) is not None
        assert set(pd.read_csv(tmp_path / "out.csv")["prediction"]) <= set(labels)

    def test_a_date_of_two_readings_is_read_as_another_column_shows_or_refused(self, tmp_path, capsys):
        days = pd.date_range("2024-01-01", periods=ROWS)
        columns = {"order": days, "ship": days + pd.to_timedelta(np.arange(ROWS) % 30, unit="D")}
        pd.DataFrame(columns | {"rent": rents()}).to_parquet(tmp_path / "train.parquet")
        model = fit(tmp_path / "train.parquet", **(CHOICES | {"name": "rents"}))
        model.publish(Store(tmp_path / "store"))
        line = ["predict", "--model", "rents", "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out.csv")]
        one_day = csv(order=["03/01/2024"] * 3, ship=["03/15/2024", "03/20/2024", "03/28/2024"])
        (tmp_path / "us.csv").write_text(one_day)
        assert main([*line, str(tmp_path / "us.csv")]) == 0
        ships = pd.to_datetime(["2024-03-15", "2024-03-20", "2024-03-28"])
        expected = self.expected(model, order=pd.to_datetime(["2024-03-01"] * 3), ship=ships)
        np.testing.assert_allclose(pd.read_csv(tmp_path / "out.csv")["prediction"], expected, rtol=1e-6)
        (tmp_path / "us.csv").write_text(csv(order=["03/01/2024"], ship=["2024-03-15"]))
        capsys.readouterr()
        assert main([*line, str(tmp_path / "us.csv")]) == 2
        assert "no cell of the column tells which" in capsys.readouterr().err

    def test_a_typed_table_has_no_signs_and_gets_a_note(self, trained, tmp_path, capsys):
        model, answered = trained(csv(share=[f"{i + 10} %" for i in range(ROWS)], rent=rents()))
        pd.DataFrame({"share": [12.0, 13.5]}).to_parquet(tmp_path / "new.parquet")
        answers = answered(tmp_path / "new.parquet")
        np.testing.assert_allclose(answers, self.expected(model, share=[12.0, 13.5]), rtol=1e-6)
        assert (
            "Column 'share' of new.parquet has no sign beside its numbers, and the training table has '%'"
            in capsys.readouterr().err
        )

    def test_gaps_and_dates_in_another_form_are_noted(self, trained, capsys):
        days = pd.date_range("2024-01-01", periods=ROWS)
        sizes = [f"{i + 1.5}" for i in range(ROWS)]
        model, answered = trained(csv(size=["", *sizes[1:]], day=days.strftime("%Y-%m-%d").tolist(), rent=rents()))
        answers = answered(csv(size=["?", *sizes[1:]], day=days.strftime("%d/%m/%Y").tolist()))
        typed = {"size": [np.nan, *map(float, sizes[1:])], "day": days}
        np.testing.assert_allclose(answers, self.expected(model, **typed), rtol=1e-6)
        error = capsys.readouterr().err
        assert "Column 'size' of new.csv is read as numbers, and '?' in 1 cell as missing.\n" in error
        assert "Column 'day' of new.csv holds dates of the form %d/%m/%Y: '01/01/2024' is read as" in error

    @pytest.mark.parametrize("mark", ["10 %", "$5", "1 000", "7"])
    def test_a_single_number_beside_gaps_is_the_category_that_training_saw(self, trained, capsys, mark):
        cells = [mark, ""] * (ROWS // 2)
        text = csv(size=[i / 7 for i in range(ROWS)], discount=cells, rent=rents())
        model, answered = trained(text)
        [column] = [column for column in model.checkpoint.schema.columns if column.name == "discount"]
        [category] = column.categories
        kept = {"size": [i / 7 for i in range(ROWS)]}
        expected = self.expected(model, **kept, discount=[category, None] * (ROWS // 2))
        np.testing.assert_allclose(answered(text), expected, rtol=1e-6)
        gap = csv(size=[i / 7 for i in range(ROWS)], discount=[mark, "?"] * (ROWS // 2))
        np.testing.assert_allclose(answered(gap), expected, rtol=1e-6)
        assert "category" not in capsys.readouterr().err

    def test_a_word_beside_the_single_number_is_an_unknown_category(self, trained, capsys):
        rest = ["10 %", ""] * (ROWS // 2 - 1)
        _, answered = trained(csv(size=range(ROWS), discount=["10 %", "", *rest], rent=rents()))
        for words in (["all", "20 %"], ["all", "all"]):
            assert answered(csv(size=range(ROWS), discount=[*words, *rest])) is not None
            assert "2 cells of column 'discount' hold a category" in capsys.readouterr().err

    def test_a_code_with_a_zero_before_it_stays_a_code(self, trained, capsys):
        codes = ["007", ""] * (ROWS // 2)
        _, answered = trained(
            csv(size=range(ROWS), code=codes, rent=rents()), choices=ColumnChoices(categorical=("code",))
        )
        assert answered(csv(size=range(ROWS), code=codes)) is not None
        assert "category" not in capsys.readouterr().err

    def test_a_missing_value_is_read_with_the_marks_of_training(self, trained, capsys):
        rent = [f"{rent:,}".replace(",", ".") for rent in rents()]
        model, answered = trained(csv(area=["", *POINTED[1:]], city=cities(), rent=rent))
        answers = answered(csv(area=["9999", *POINTED[1:]], city=cities()), "--missing-values", "9.999")
        np.testing.assert_allclose(
            answers, self.expected(model, area=[np.nan, *map(float, AREAS[1:])], city=cities()), rtol=1e-6
        )
        assert "1 cell of new.csv is '9.999', a missing value (written '9999').\n" in capsys.readouterr().err

    def test_a_table_without_a_command_is_read_as_training_was_too(self, trained, write):
        rent = [f"{rent:,}".replace(",", ".") for rent in rents()]
        model, _ = trained(csv(area=POINTED, city=cities(), rent=rent))
        predictions = predict_table(model.checkpoint, read_csv(write(csv(area=POINTED, city=cities()), "new.csv")))
        np.testing.assert_allclose(predictions.answers, self.expected(model, area=AREAS, city=cities()), rtol=1e-6)
        assert len(predictions.notes) == 1

    def test_the_rows_that_an_import_compares_on_are_read_with_notes(self, trained, write):
        model, _ = trained(csv(area=AREAS, city=cities(), rent=rents()))
        path = write(csv(area=["?", *POINTED[1:]], city=cities()), "rows.csv")
        notes: list[str] = []
        _, statistics = rows_and_statistics(str(path), model.checkpoint.schema.columns, notes)
        assert statistics["area"].minimum == AREAS[1] / 1000
        assert [note.split(" is read")[0] for note in notes] == ["Column 'area' of rows.csv"] * 2
