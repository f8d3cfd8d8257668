"""Columns as data: they survive JSON, and what is not a schema is refused by DataError alone."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import DataError
from models.schema import CategoricalColumn, ClassTarget, NumericColumn, NumericTarget, Schema

VAST = pytest.param(10**5000, id="more digits than Python writes out")

finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e30, 1e30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
numeric = st.builds(
    NumericColumn,
    name=names,
    mean=moderate,
    std=st.floats(min_value=0, exclude_min=True, allow_infinity=False),
    minimum=finite,
    maximum=finite,
    missing=st.sampled_from(["refuse", "mean"]),
    origin=moderate,
)
categorical = st.builds(
    CategoricalColumn,
    name=names,
    categories=st.lists(names, min_size=1, max_size=5, unique=True),
    unknown=st.sampled_from(["refuse", "ignore"]),
    missing=st.sampled_from(["refuse", "ignore"]),
)
targets = st.one_of(
    st.builds(ClassTarget, name=names, labels=st.lists(names, min_size=2, max_size=5, unique=True)),
    st.builds(NumericTarget, name=names, mean=finite, std=st.floats(1e-300, 1e300), minimum=finite, maximum=finite),
)
schemas = st.builds(
    Schema,
    columns=st.lists(numeric | categorical, min_size=1, max_size=5, unique_by=lambda column: column.name),
    target=targets,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def height(**changes):
    return NumericColumn(**({"name": "height", "mean": 1.7, "std": 0.1, "minimum": 1.4, "maximum": 2.1} | changes))


def sound():
    return {
        "columns": [
            {"kind": "numeric", "name": "a", "mean": 1.0, "std": 2.0, "minimum": -1.0, "maximum": 5.0}
            | {"missing": "mean", "origin": 0.5},
            {"kind": "categorical", "name": "b", "categories": ["x", "y"], "unknown": "ignore", "missing": "refuse"},
        ],
        "target": {"kind": "class", "name": "t", "labels": ["no", "yes"]},
    }


@given(schemas)
def test_a_schema_comes_back_the_same_from_its_dict_and_from_json(schema):
    plain = schema.to_dict()
    assert Schema.from_dict(plain) == schema
    assert json.loads(json.dumps(plain)) == plain, "to_dict gives plain JSON types"
    assert Schema.from_dict(json.loads(json.dumps(plain))) == schema


@given(schemas)
def test_width_and_standardisation_count_the_encoded_features(schema):
    mean, std = schema.standardisation()
    assert mean.shape == std.shape == (schema.width,)
    expected = []
    for column in schema.columns:
        if isinstance(column, NumericColumn):
            expected.append((column.mean - column.origin, column.std))
        else:
            expected += [(0.0, 1.0)] * len(column.categories)
    assert list(zip(mean.tolist(), std.tolist(), strict=True)) == expected
    assert schema.names == tuple(column.name for column in schema.columns)


def test_numbers_are_kept_as_floats_so_that_5_and_5_0_are_one_schema():
    column = height(mean=5, std=np.float64(1))
    assert column == height(mean=5.0, std=1.0)
    assert type(column.mean) is float
    assert type(column.std) is float


def test_from_dict_leaves_the_other_sections_of_a_header_alone():
    assert Schema.from_dict(sound() | {"format": "axon", "metrics": {}}) == Schema.from_dict(sound())


@pytest.mark.parametrize("hostile", [None, 5, "columns", [], {}, {"columns": {}}, {"columns": []}, {"columns": "ab"}])
def test_what_is_no_schema_is_a_data_error(hostile):
    with pytest.raises(DataError):
        Schema.from_dict(hostile)


def spots(value, path=()):
    """Every path into a nested value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from spots(inner, (*path, key))


SPOTS = [path for path in spots(sound()) if path]


@settings(max_examples=250)
@given(st.sampled_from(SPOTS), json_values)
@example(("columns", 0, "mean"), 10**400)
@example(("columns", 0, "kind"), [])
@example(("columns", 0, "kind"), {})
@example(("columns", 1, "categories"), "xy")
@example(("columns", 1, "categories"), {"x": 1})
@example(("columns", 1, "categories"), 5)
@example(("target", "labels"), "ab")
@example(("target", "labels"), [["a"], ["b"]])
def test_any_value_in_any_place_is_read_or_refused_by_data_error(path, value):
    raw = copy.deepcopy(sound())
    place = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    message = ""
    try:
        schema = Schema.from_dict(raw)
        assert Schema.from_dict(schema.to_dict()) == schema
    except DataError as error:
        message = str(error)
    assert len(message) < 1_000, "a message is bounded whatever the value"


@pytest.mark.parametrize("path", [path for path in SPOTS if isinstance(path[-1], str)], ids=str)
def test_a_missing_field_is_read_as_its_default_or_refused_by_data_error(path):
    raw = sound()
    place = raw
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    if path[-1] in ("missing", "origin", "unknown"):
        Schema.from_dict(raw)
    else:
        with pytest.raises(DataError, match=path[-1].rstrip("s")):
            Schema.from_dict(raw)


@pytest.mark.parametrize("place", [("columns", 0), ("columns", 1), ("target",)])
def test_an_unknown_field_is_named(place):
    raw = sound()
    inner = raw
    for key in place:
        inner = inner[key]
    inner["surprise"] = 1
    with pytest.raises(DataError, match="surprise"):
        Schema.from_dict(raw)


@pytest.mark.parametrize("categories", ["xy", {"x": 1, "y": 2}, 5, None, [], ["x", "x"], ["x", 1], [["x"]], b"xy"])
def test_categories_are_a_list_of_distinct_strings_and_nothing_that_merely_iterates(categories):
    with pytest.raises(DataError, match="'b'"):
        CategoricalColumn(name="b", categories=categories)


@pytest.mark.parametrize("labels", ["ab", {"a": 1, "b": 2}, 5, None, [], ["a"], ["a", "a"], ["a", True]])
def test_labels_are_a_list_of_two_or_more_distinct_strings(labels):
    with pytest.raises(DataError, match="'t'"):
        ClassTarget(name="t", labels=labels)


@pytest.mark.parametrize("field", ["mean", "std", "minimum", "maximum", "origin"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, [1.0], 10**400, VAST, 1j])
def test_a_statistic_is_a_finite_number(field, value):
    with pytest.raises(DataError, match=f"'height': {field}"):
        height(**{field: value})
    if field != "origin":
        with pytest.raises(DataError, match=f"'y': {field}"):
            NumericTarget(**({"name": "y", "mean": 0, "std": 1, "minimum": 0, "maximum": 0} | {field: value}))


@pytest.mark.parametrize("std", [0, -0.0, -1, -5e-324])
def test_a_standard_deviation_is_above_zero(std):
    with pytest.raises(DataError, match="std must be above 0"):
        height(std=std)


@pytest.mark.parametrize(("mean", "origin"), [(1e39, 0), (-1e39, 0), (1e308, -1e308), (2.0**128 - 2.0**103, 0)])
def test_a_mean_that_could_not_stand_in_for_a_missing_value_is_refused(mean, origin):
    with pytest.raises(DataError, match="too large"):
        height(mean=mean, origin=origin)


@pytest.mark.parametrize("name", ["", "x" * 1001, None, 5, b"x", "half a pair \ud800"])
def test_a_name_is_a_bounded_unicode_string(name):
    with pytest.raises(DataError, match="name"):
        height(name=name)


def test_half_a_surrogate_pair_is_refused_in_whatever_a_response_may_repeat():
    half = json.loads('"\\ud83d"')
    with pytest.raises(DataError, match="Unicode"):
        ClassTarget(name="t", labels=["a", half])
    with pytest.raises(DataError, match="Unicode"):
        CategoricalColumn(name="c", categories=[half])


def test_two_columns_of_one_name_are_refused_and_named():
    target = ClassTarget(name="t", labels=["a", "b"])
    with pytest.raises(DataError, match="'height' stands twice"):
        Schema(columns=(height(), height(name="w"), height()), target=target)


def test_a_duplicate_among_many_columns_is_found_without_comparing_all_pairs():
    columns = [height(name=f"c{i}") for i in range(20_000)]
    with pytest.raises(DataError, match="'c19999' stands twice"):
        Schema(columns=(*columns, columns[-1]), target=ClassTarget(name="t", labels=["a", "b"]))
