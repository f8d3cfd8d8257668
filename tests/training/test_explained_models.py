"""A trained model carries the background of explanations: the typical row, or rows of the table if the user says so."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import axon
from axon.explanations import Explanations
from models.errors import DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices

QUICK = {"hidden_sizes": (8,), "epochs": 60, "device": "cpu", "progress": False}


def table(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": rng.normal(40, 10, rows).round(1),
            "town": rng.choice(["Rome", "Oslo", "Bonn"], rows, p=[0.6, 0.3, 0.1]),
            "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D"),
        }
    )
    frame.loc[::9, "age"] = np.nan
    frame["y"] = np.where(frame.age.fillna(0) > 40, "old", "young")
    return frame


def test_the_typical_row_is_the_background_of_a_model_that_was_trained_without_more() -> None:
    frame = table()
    model = axon.fit(frame, target="y", name="people", **QUICK)  # type: ignore[arg-type]
    found = model.explain(frame[:20])
    assert found.background == "typical"
    typical = model.checkpoint.data["examples"][0]
    probabilities = model.predict_proba([typical])[0]
    for row in found.rows:
        place = model.classes.index(row["output"])
        assert row["base"] == pytest.approx(float(probabilities[place]), abs=1e-6)
        total = sum(reason["contribution"] for reason in row["reasons"])
        assert total == pytest.approx(row["value"] - row["base"], abs=1e-6)
    sizes = found.to_pandas().drop(columns=["base", "value"]).abs().mean()
    assert sizes["age"] > 2 * max(sizes["town"], sizes["day"]), "the column that decides"
    assert "background" not in model.checkpoint.data


def test_a_column_with_the_name_of_the_answer_is_no_column_of_the_frame() -> None:
    row = {"base": 1.0, "value": 3.0, "prediction": 3.0}
    row["reasons"] = [{"column": "value", "cell": 1, "contribution": 2.0}]
    found = Explanations("m", 1, "value", "typical", [row])
    assert found.contributions() == {"value": 2.0}
    with pytest.raises(DataError, match="the model has a column 'value'"):
        found.to_pandas()


def test_rows_of_the_table_are_the_background_where_the_user_says_so(tmp_path: Path) -> None:
    frame = table()
    frame.to_csv(tmp_path / "people.csv", index=False)
    arguments = ["--target", "y", "--hidden", "8", "--epochs", "5", "--background", "rows"]
    assert main(["fit", str(tmp_path / "people.csv"), *arguments, "--store", str(tmp_path / "store")]) == 0
    model = axon.load("people", store=Store(tmp_path / "store"))
    background = json.loads(json.dumps(model.checkpoint.data["background"]))
    assert len(background) == 100
    assert any(row["age"] is None for row in background)
    given = {
        (None if np.isnan(age) else age, town, str(day.date())) for age, town, day, _ in frame.itertuples(index=False)
    }
    assert {(row["age"], row["town"], row["day"]) for row in background} <= given
    found = model.explain(frame[:2])
    assert found.background == "rows"
    place = model.classes.index(found.rows[0]["output"])
    assert found.rows[0]["base"] == pytest.approx(float(model.predict_proba(background)[:, place].mean()), abs=1e-6)


def test_another_word_is_refused() -> None:
    with pytest.raises(DataError, match="background must be typical or rows"):
        ColumnChoices(background="all")  # type: ignore[arg-type]
