"""The background is the typical row, rows of the training part, or else the middle of the schema."""

from __future__ import annotations

from typing import Any

import numpy as np

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, NumericTarget, Schema
from models.explaining.background import background_of, centre
from models.explaining.explained_output import ExplainedOutput

STATISTICS: Any = {"mean": 40.0, "std": 10.0, "minimum": 1.0, "maximum": 99.0}
TARGET = NumericTarget(name="y", mean=0, std=1, minimum=-1, maximum=1)
SCHEMA = Schema(
    columns=(
        NumericColumn(name="age", **STATISTICS, center=35.0, origin=30.0, missing="indicator"),
        DateColumn(name="day", mean=19_000.4, std=9.0, minimum=1.0, maximum=20_000.0, parts=("month", "hour")),
        CategoricalColumn(name="town", categories=("a", "b"), unknown="ignore"),
        CategoricalColumn(name="strict", categories=("a", "b")),
        CategoricalColumn(name="sex", categories=("f", "m"), encoding="sign"),
        CategoricalColumn(name="index", categories=("a", "b"), encoding="index"),
        CategoricalColumn(name="filled", categories=("a", "b"), fill="b"),
    ),
    target=TARGET,
)


def test_the_centre_is_in_the_middle_of_each_column() -> None:
    encoder = RowEncoder(SCHEMA)
    day = np.datetime_as_string(np.datetime64("1970-01-01", "us") + np.timedelta64(round(19_000.4 * 86_400e6), "us"))
    row = [35.0, str(day), "a", "a", "f", "a", "b"]
    [expected] = encoder.encode_matrix([row]).copy()
    features = [feature.column for feature in SCHEMA.features]
    for name, cells in (("town", [0, 0]), ("strict", [0.5, 0.5]), ("sex", [0]), ("index", [0])):
        expected[[at for at, column in enumerate(features) if column == name]] = cells
    np.testing.assert_allclose(centre(SCHEMA), expected, atol=1e-6)


def test_the_checkpoint_says_which_rows_are_compared_with() -> None:
    encoder = RowEncoder(SCHEMA)
    row = [1.0, "2020-01-01", "new", "a", "f", "a", "b"]
    encoder.unknown.add("town", 7)
    typical = background_of(SCHEMA, encoder, {"examples": [row, row], "examples_kind": "typical"})
    assert (typical.source, typical.rows.shape) == ("typical", (1, SCHEMA.width))
    np.testing.assert_array_equal(typical.rows, RowEncoder(SCHEMA).encode_matrix([row]))
    rows = background_of(SCHEMA, encoder, {"background": [row] * 3, "examples": [row], "examples_kind": "typical"})
    assert (rows.source, len(rows.rows)) == ("rows", 3)
    for data in (
        {},
        {"examples": [row]},  # an older checkpoint, whose examples may be rows of the table
        {"examples": [row], "examples_kind": "rows"},
        {"examples": [row[:-1]], "examples_kind": "typical"},
        {"background": [row] * 101},
        {"background": "none"},
    ):
        assert background_of(SCHEMA, encoder, data).source == "centre", data
    assert encoder.unknown.take() == {"town": 7}, "the unknown cells of others still count"


def test_log_odds_are_those_of_the_probability_also_where_float32_rounds_to_one() -> None:
    schema = Schema(columns=SCHEMA.columns, target=ClassTarget(name="y", labels=("a", "b", "c")))
    answers = np.array([[0.2, 0.5, 0.3], [1.0, 1e-12, 2e-12]], dtype=np.float32)
    found = ExplainedOutput(schema, "a", logit=True).of(answers)
    np.testing.assert_allclose(found, [np.log(0.2 / 0.8), -np.log(3e-12)], rtol=1e-6)
    np.testing.assert_array_equal(ExplainedOutput(schema, "c", logit=False).of(answers), answers[:, 2])
