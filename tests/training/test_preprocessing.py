"""Statistics and categories come from the training part alone, and what training sees is what serving will see."""

import numpy as np
import pytest

from models.encoding import RowEncoder
from models.errors import DataError
from training.data.preprocessing import encode, fit_schema, standardise, unseen_categories
from training.data.training_table import ColumnChoices, TrainingTable


def table(features, target=None, **choices):
    rows = len(next(iter(features.values())))
    return TrainingTable(
        name="t",
        features={
            name: np.array(values, dtype=object if isinstance(values[0], str) else float)
            for name, values in features.items()
        },
        target_name="y",
        labels=() if target is not None else ("a", "b"),
        target=np.array(target) if target is not None else np.arange(rows) % 2,
        choices=ColumnChoices(**choices),
    )


def test_numeric_statistics_are_those_of_the_training_part():
    data = table({"x": [1, 2, 4, 1000]}, target=[1.0, 3.0, 8.0, 99.0])
    train = np.array([2, 0, 1])
    schema = fit_schema(data, train)
    x, y = np.array([4, 1, 2.0]), np.array([8, 1, 3.0])
    column, target = schema.columns[0], schema.target
    assert (column.mean, column.std) == (x.mean(), x.std())
    assert (column.minimum, column.maximum) == (1, 4)
    assert (target.mean, target.std, target.maximum) == (y.mean(), y.std(), 8)


def test_categories_are_those_of_the_training_part_and_the_rest_encode_to_nothing():
    data = table({"c": ["u", "v", "w", "u"]})
    schema = fit_schema(data, np.array([0, 1, 3]))
    assert schema.columns[0].categories == ("u", "v")
    np.testing.assert_array_equal(encode(schema, data, np.arange(4)), [[1, 0], [0, 1], [0, 0], [1, 0]])
    assert unseen_categories(schema, data) == {"c": 1}
    assert schema.columns[0].unknown == "refuse"


def test_a_column_with_gaps_anywhere_accepts_gaps_and_others_do_not():
    data = table({"x": [1, 2, 3, np.nan], "full": [1, 2, 3, 4], "c": ["u", "v", "u", None], "d": ["u", "v", "u", "u"]})
    schema = fit_schema(data, np.arange(3))
    assert [column.missing for column in schema.columns] == ["mean", "refuse", "ignore", "refuse"]
    np.testing.assert_array_equal(encode(schema, data, np.array([3])), [[2, 4, 0, 0, 1, 0]])


def test_gaps_do_not_count_in_the_statistics():
    schema = fit_schema(table({"x": [1, np.nan, 3, 7]}), np.array([0, 1, 2]))
    assert (schema.columns[0].mean, schema.columns[0].std) == (2, 1)


@pytest.mark.parametrize("unknown", ["refuse", "ignore"])
def test_the_choice_about_unknown_categories_travels(unknown):
    assert fit_schema(table({"c": ["u", "v"]}, unknown=unknown), np.arange(2)).columns[0].unknown == unknown


def test_a_column_far_from_zero_keeps_its_spread():
    times = 1.7e9 + np.arange(8.0)
    data = table({"time": times.tolist(), "x": np.arange(8.0).tolist()})
    schema = fit_schema(data, np.arange(8))
    assert schema.columns[0].origin == times.mean()
    assert schema.columns[1].origin == 0
    seen = standardise(schema, encode(schema, data, np.arange(8)))
    np.testing.assert_allclose(seen[:, 0], seen[:, 1], rtol=1e-6)


@pytest.mark.parametrize("value", [0.1, 3.0, -1e30])
def test_a_column_without_spread_in_the_training_part_is_divided_by_one(value):
    schema = fit_schema(table({"x": [value] * 3 + [2 * value]}), np.arange(3))
    assert schema.columns[0].std == 1


def test_a_column_without_a_value_in_the_training_part_is_refused():
    with pytest.raises(DataError, match="column 'x' has no value in the training part"):
        fit_schema(table({"x": [np.nan, np.nan, 1, 2]}), np.array([0, 1]))


def test_columns_encode_as_the_served_rows_do():
    data = table({"x": [1.5, np.nan, 1e6], "c": ["u", None, "v"], "b": ["true", "false", "true"]})
    schema = fit_schema(data, np.arange(3))
    rows = [data.example(row) for row in range(3)]
    np.testing.assert_array_equal(encode(schema, data, np.arange(3)), RowEncoder(schema).encode_matrix(rows))


def test_numbered_categories_are_in_the_order_of_their_values():
    assert fit_schema(table({"c": ["10", "9", "100"]}), np.arange(3)).columns[0].categories == ("9", "10", "100")
