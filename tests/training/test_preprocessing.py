"""Statistics and categories come from the training part alone, and training encodes rows as serving does."""

import numpy as np
import pyarrow as pa
import pytest

from models.columns.dictionary_column import DictionaryColumn
from models.columns.encoding import RowEncoder
from models.errors import ConfigError, DataError
from training.data.preprocessing import (
    columns_without_effect,
    encode,
    fit_schema,
    scale_target,
    standardise,
    unseen_categories,
)
from training.data.training_table import ColumnChoices, TrainingTable
from training.fit import fit


def column_of(values):
    if isinstance(values, np.ndarray | DictionaryColumn):
        return values
    return DictionaryColumn.from_strings(values) if isinstance(values[0], str) else np.array(values, dtype=float)


def table(features, target=None, **choices):
    rows = len(next(iter(features.values())))
    return TrainingTable(
        name="t",
        features={name: column_of(values) for name, values in features.items()},
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
    assert schema.columns[0].unknown == "ignore"


def test_a_category_of_rows_without_weight_is_unknown():
    data = table({"c": ["u", "v", "w", "u"], "d": ["k", "l", "k", "k"]})
    schema = fit_schema(data, np.arange(4), weights=np.array([1.0, 1, 0, 0]))
    assert [column.categories for column in schema.columns] == [("u", "v"), ("k", "l")]
    assert encode(schema, data, np.array([2])).tolist() == [[0, 0, 1, 0]]


def test_a_column_with_gaps_anywhere_accepts_gaps_and_others_do_not():
    data = table({"x": [1, 2, 3, np.nan], "full": [1, 2, 3, 4], "c": ["u", "v", "u", None], "d": ["u", "v", "u", "u"]})
    schema = fit_schema(data, np.arange(3))
    assert [column.missing for column in schema.columns] == ["mean", "refuse", "ignore", "refuse"]
    np.testing.assert_array_equal(encode(schema, data, np.array([3])), [[2, 4, 0, 0, 1, 0]])


@pytest.mark.parametrize("scaling", ["standard", "robust"])
@pytest.mark.parametrize("values", [[1.0, np.nan, 1.0, np.nan], np.array(["2024-05-31", "NaT"] * 2, "M8[us]")])
def test_the_gaps_beside_one_value_reach_the_network(scaling, values):
    data = table({"x": values})
    rows = np.arange(4)
    schema = fit_schema(data, rows, scaling=scaling)
    np.testing.assert_array_equal(standardise(schema, encode(schema, data, rows)), [[0, 0], [0, 1], [0, 0], [0, 1]])
    # Another value, on which no weights were trained, is answered like the value of the training part.
    cell = 7 if isinstance(values, list) else "2031-01-01"
    other = RowEncoder(schema).encode_matrix([[cell]])
    np.testing.assert_allclose(standardise(schema, other), [[0, 0]], atol=1e-20)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
@pytest.mark.parametrize(
    ("values", "other"),
    [
        ([4.0, 4.0, 4.0, 9.0], -3e5),
        (np.array(["2024-05-31"] * 3 + ["2025-01-01"], "M8[us]"), "2031-07-01T05:00"),
        ([1.7e9] * 3 + [1.6e9], 0),
    ],
)
@pytest.mark.parametrize("weights", [None, [1.0, 1, 1, 0]])
def test_a_value_on_which_nothing_was_trained_has_no_effect(scaling, values, other, weights):
    data, rows = table({"x": values, "z": [1, 2, 3, 4]}), np.arange(3 if weights is None else 4)
    schema = fit_schema(data, rows, scaling=scaling, weights=None if weights is None else np.array(weights))
    served = RowEncoder(schema).encode_matrix([[other, 1]])
    seen = [standardise(schema, encode(schema, data, np.arange(4)))[:, :-1], standardise(schema, served)[:, :-1]]
    for one in seen:
        assert one.shape[1] == 1
        np.testing.assert_allclose(one, 0, atol=1e-20)
    assert columns_without_effect(schema).keys() == {"x"}


@pytest.mark.parametrize("weights", [None, [1.0, 1, 1, 0]])
def test_gaps_on_which_nothing_was_trained_have_no_input_of_their_own(weights):
    data, rows = table({"x": [1.0, 2, 4, np.nan]}), np.arange(3 if weights is None else 4)
    schema = fit_schema(data, rows, scaling="robust", weights=None if weights is None else np.array(weights))
    assert schema.columns[0].missing == "mean"
    np.testing.assert_array_equal(standardise(schema, encode(schema, data, np.array([3]))), [[0]])


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
    rows = [[1.5, "u", "true"], [None, None, "false"], [1e6, "v", True]]
    np.testing.assert_array_equal(encode(schema, data, np.arange(3)), RowEncoder(schema).encode_matrix(rows))


def test_numbered_categories_are_in_the_order_of_their_values():
    assert fit_schema(table({"c": ["10", "9", "100"]}), np.arange(3)).columns[0].categories == ("9", "10", "100")


def test_a_column_of_objects_is_read_as_its_names():
    cells = ["u", None, "v", "w"]
    as_names, as_objects = (table({"c": values}) for values in (cells, np.array(cells, dtype=object)))
    train = np.array([0, 1, 2])
    assert fit_schema(as_names, train) == fit_schema(as_objects, train)
    schema = fit_schema(as_names, train)
    np.testing.assert_array_equal(encode(schema, as_names, np.arange(4)), encode(schema, as_objects, np.arange(4)))
    assert unseen_categories(schema, as_objects) == unseen_categories(schema, as_names) == {"c": 1}


def robust(data, train, **options):
    return fit_schema(data, np.asarray(train), scaling="robust", **options)


def test_robust_numbers_are_centred_at_the_median_and_divided_by_the_inter_quartile_range():
    rng = np.random.default_rng(0)
    values = np.append(rng.lognormal(size=500), [1e6] * 5)
    data, train = table({"x": values}), np.arange(400)
    column = robust(data, train).columns[0]
    low, middle, high = np.percentile(values[:400], [25, 50, 75])
    assert (column.center, column.scale) == (middle, pytest.approx(high - low))
    assert (column.mean, column.std) == (values[:400].mean(), values[:400].std()), "statistics are kept"
    seen = standardise(robust(data, train), encode(robust(data, train), data, train))[:, 0]
    np.testing.assert_allclose(
        np.percentile(seen, [25, 50, 75]), np.array([low - middle, 0, high - middle]) / (high - low), atol=1e-5
    )


def test_half_the_range_stands_in_for_an_inter_quartile_range_of_nothing():
    values = [5.0] * 8 + [1.0, 7.0]
    assert robust(table({"x": values}), np.arange(10)).columns[0].scale == 3
    rounding = [*np.nextafter(5.0, [0, 9] * 4), 5e5, -5e5]
    assert robust(table({"x": rounding}), np.arange(10)).columns[0].scale == 5e5
    constant = robust(table({"x": [5.0] * 4}), np.arange(4)).columns[0]
    assert (constant.center, constant.scale) == (5, 1e30)  # any other value becomes 0


def test_robust_columns_with_gaps_get_an_indicator_and_the_median():
    data = table({"x": [1, 2, 9, np.nan], "full": [1, 2, 3, 4]})
    schema = robust(data, np.arange(4))
    assert [column.missing for column in schema.columns] == ["indicator", "refuse"]
    np.testing.assert_array_equal(encode(schema, data, np.array([1, 3])), [[2, 0, 2], [2, 1, 4]])
    np.testing.assert_array_equal(standardise(schema, encode(schema, data, np.array([3])))[0, :2], [0, 1])


@pytest.mark.parametrize("unknown", ["refuse", "ignore"])
def test_two_categories_are_a_sign_few_are_one_hot_and_many_an_index(unknown):
    few, many = [f"f{i % 3}" for i in range(12)], [f"m{i % 4}" for i in range(12)]
    data = table({"two": ["a", "b"] * 6, "few": few, "many": many}, unknown=unknown)
    schema = robust(data, np.arange(12), max_one_hot=3)
    assert [column.encoding for column in schema.columns] == ["sign", "one_hot", "index"]
    assert {column.unknown for column in schema.columns} == {unknown}
    np.testing.assert_array_equal(encode(schema, data, np.array([0, 7])), [[-1, 1, 0, 0, 1], [1, 0, 1, 0, 4]])
    plain = fit_schema(data, np.arange(12))
    assert {column.encoding for column in plain.columns} == {"one_hot"}
    assert [column.width for column in plain.columns] == [2, 3, 4]


def test_a_category_outside_the_training_part_is_looked_up_as_none():
    data = table({"c": ["u", "v", "w", "x"]})
    schema = robust(data, np.arange(3), max_one_hot=1)
    assert encode(schema, data, np.arange(4))[:, 0].tolist() == [1, 2, 3, 0]


def moments(*texts):
    return np.array(texts, dtype="datetime64[us]")


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_dates_have_the_parts_of_the_calendar_that_vary_in_the_training_part(scaling):
    data = table(
        {
            "day": moments("2024-05-01", "2024-05-08", "2024-05-15", "2024-06-02"),
            "hour": moments("2024-05-31T06:00", "2024-05-31T12:00", "2024-05-31T12:59", "NaT"),
        }
    )
    train = np.array([0, 1, 2])
    schema = fit_schema(data, train, scaling=scaling)
    day, hour = schema.columns
    assert (day.parts, hour.parts) == (("day",), ("hour",))
    assert (day.missing, hour.missing) == ("refuse", "mean")
    first = (np.datetime64("2024-05-01") - np.datetime64("1970-01-01")).astype(int)
    assert (day.mean, day.minimum, day.maximum) == (first + 7, first, first + 14)
    seen = standardise(schema, encode(schema, data, np.arange(4)))
    scale = np.std([0, 7, 14]) if scaling == "standard" else 7
    np.testing.assert_allclose(seen[:, 0], np.array([-7, 0, 7, 25]) / scale, rtol=1e-6)
    np.testing.assert_array_equal(seen[3, 3:6], [0, 0, 0])
    texts = [["2024-05-01", "2024-05-31T06:00"], ["2024-05-08T02:00:00+02:00", "2024-05-31T12:00Z"]]
    texts += [["2024-05-15", "2024-05-31 12:59:00"], ["2024-06-02", None]]
    assert RowEncoder(schema).encode_matrix(texts).tobytes() == encode(schema, data, np.arange(4)).tobytes()


def test_a_second_is_seen_in_a_column_of_seconds():
    times = np.datetime64("2024-05-31T12:00", "us") + np.arange(60) * np.timedelta64(1, "s")
    data = table({"at": times})
    schema = fit_schema(data, np.arange(60))
    assert schema.columns[0].parts == ()
    seen = standardise(schema, encode(schema, data, np.arange(60)))[:, 0]
    np.testing.assert_allclose(seen, (np.arange(60) - 29.5) / np.std(np.arange(60)), atol=1e-5)


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_a_row_of_weight_3_counts_as_three_rows(scaling):
    rng = np.random.default_rng(1)
    values, weights = rng.normal(size=41), rng.integers(0, 4, size=41)
    values[:3] = np.nan
    target = rng.normal(size=41)
    once = table({"x": values}, target=target)
    often = table({"x": values.repeat(weights)}, target=target.repeat(weights))
    weighted = fit_schema(once, np.arange(41), scaling=scaling, weights=weights.astype(float))
    repeated = fit_schema(often, np.arange(weights.sum()), scaling=scaling)
    column, expected = weighted.columns[0], repeated.columns[0]
    assert (column.mean, column.std) == (pytest.approx(expected.mean), pytest.approx(expected.std))
    assert (weighted.target.mean, weighted.target.std) == (
        pytest.approx(repeated.target.mean),
        pytest.approx(repeated.target.std),
    )
    if scaling == "robust":
        quantiles = np.quantile(
            values.repeat(weights)[~np.isnan(values.repeat(weights))], [0.25, 0.5, 0.75], method="inverted_cdf"
        )
        assert column.center == quantiles[1]
        assert column.scale == pytest.approx(quantiles[2] - quantiles[0])


def test_a_column_whose_values_have_no_weight_is_fitted_without_weights():
    data = table({"x": [1.0, 3.0, np.nan, np.nan]})
    weights = np.array([0.0, 0.0, 1.0, 1.0])
    assert fit_schema(data, np.arange(4), weights=weights) == fit_schema(data, np.arange(4))


def test_standardising_in_blocks_is_standardising_at_once():
    rng = np.random.default_rng(2)
    data = table({"x": rng.normal(size=70_000), "z": rng.normal(size=70_000)}, target=rng.normal(size=70_000))
    schema = fit_schema(data, np.arange(1000))
    x = encode(schema, data, np.arange(70_000))
    shift, divisor = schema.standardisation()
    np.testing.assert_array_equal(standardise(schema, x), ((x.astype(float) - shift) / divisor).astype(np.float32))
    y = scale_target(schema, data.target)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y[:1000].mean(), 0, atol=1e-6)


def test_a_scaling_that_there_is_not_is_named():
    with pytest.raises(ConfigError, match="standard or robust, got 'minmax'"):
        fit_schema(table({"x": [1.0, 2.0]}), np.arange(2), scaling="minmax")


@pytest.mark.parametrize("recipe", ["default", "classic"])
def test_a_column_that_is_new_after_training_changes_no_answer_and_is_named(recipe):
    rng, days = np.random.default_rng(0), np.arange(100)
    x = rng.normal(size=100)
    source = pa.table({"day": days, "x": x, "new": np.where(days < 70, 3.0, 8.0), "y": x + rng.normal(size=100)})
    gaps = pa.array([*rng.normal(size=99), None])
    model = fit(
        source.append_column("gap", gaps),
        target="y",
        choices=ColumnChoices(time="day"),
        recipe=recipe,
        epochs=2,
        hidden_sizes=(8,),
    )
    rows = [{"x": 0.5, "new": value, "gap": 0.1} for value in (3.0, 8.0, -4e6)]
    answers = model.predict(rows)
    assert answers == [answers[0]] * 3
    assert "Column 'new' has one value only in the training part, 3: another value changes no answer." in model.notes
    [said] = [note for note in model.notes if "'gap'" in note]
    assert "missing values outside the training part only" in said
