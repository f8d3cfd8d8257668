"""Declared missing values are kept in the columns, as far as training has compared cells with values."""

import numpy as np
import pandas as pd
import pytest

from models.columns.dates import days_since_1970, parse
from training.fit import fit

ROWS = 60
FIT = {"target": "y", "epochs": 1, "hidden_sizes": (4,), "seed": 0}


def gaps_of(path_or_frame, *missing, **options):
    model = fit(path_or_frame, missing_values=missing, **(FIT | options))
    return model, model.checkpoint.schema.columns[0].gaps


def frame_of(cells):
    return pd.DataFrame({"x": cells, "y": np.arange(ROWS) * 1.5})


def written(tmp_path, cells):
    frame_of(cells).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_a_neighbour_that_float32_rounds_to_the_gap_is_a_number(tmp_path):
    cells = [999_999_999, 1_000_000_000, 5, 1_000_000_001] * 15
    for source in (frame_of(cells), written(tmp_path, cells)):
        model, gaps = gaps_of(source, 999_999_999)
        assert gaps == (999_999_999.0,)
        gap, number, missing = model.predict([{"x": 999_999_999}, {"x": 1_000_000_000}, {"x": None}])
        assert gap == missing != number


@pytest.mark.parametrize("cell", ["1900-01-01 00:00:00", "01/01/1900"])
def test_a_date_that_training_did_not_take_for_a_gap_is_a_date(tmp_path, cell):
    others = ["2024-05-31 00:00:00", "2024-06-17 10:00:00"] if "-" in cell else ["31/05/2024", "17/06/2024"]
    _, gaps = gaps_of(written(tmp_path, [cell, *others] * 20), "1900-01-01")
    assert gaps == ()


def test_a_date_in_the_tables_form_is_a_gap(tmp_path):
    model, gaps = gaps_of(written(tmp_path, ["01/01/1900", "31/05/2024", "17/06/2024"] * 20), "01/01/1900")
    assert gaps == (days_since_1970(parse("1900-01-01")),)
    answers = model.predict([{"x": "01/01/1900"}, {"x": None}, {"x": "1900-01-01"}, {"x": "31/05/2024"}])
    assert answers[0] == answers[1] == answers[2] != answers[3]


def test_truth_values_are_no_numbers_that_are_missing():
    _, gaps = gaps_of(frame_of([True, False, True] * 20), 1)
    assert gaps in ((), ("1",))


def test_a_decimal_comma_is_that_of_the_column(tmp_path):
    pd.DataFrame({"x": ["9.999", "1,5", "2,25"] * 20, "y": range(ROWS)}).to_csv(
        tmp_path / "t.csv", index=False, sep=";"
    )
    model, gaps = gaps_of(tmp_path / "t.csv", "9.999")
    assert gaps == (9999.0,)
    answers = model.predict([{"x": 9999}, {"x": None}, {"x": 9.999}])
    assert answers[0] == answers[1] != answers[2]
