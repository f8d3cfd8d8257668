"""Columns as data: JSON keeps every field, and an invalid schema raises only DataError."""

import copy
import json
import math
import reprlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.columns.encoding import RowEncoder
from models.columns.schema import (
    CategoricalColumn,
    ClassTarget,
    DateColumn,
    Feature,
    NumericColumn,
    NumericTarget,
    Schema,
)
from models.errors import DataError

VAST = pytest.param(10**5000, id="more digits than Python writes out")

finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(-1e30, 1e30)
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
missing = st.sampled_from(["refuse", "mean", "indicator"])
numeric = st.builds(
    NumericColumn,
    name=names,
    mean=moderate,
    std=positive,
    minimum=finite,
    maximum=finite,
    missing=missing,
    origin=moderate,
    center=st.none() | moderate,
    scale=st.none() | positive,
)
categories = st.lists(names, min_size=1, max_size=5, unique=True)
policies = st.sampled_from(["refuse", "ignore"])
categorical = st.one_of(
    st.builds(CategoricalColumn, name=names, categories=categories, unknown=policies, missing=policies),
    st.builds(CategoricalColumn, name=names, categories=categories, missing=policies, encoding=st.just("index")),
    st.builds(
        CategoricalColumn,
        name=names,
        categories=st.lists(names, min_size=2, max_size=2, unique=True),
        encoding=st.just("sign"),
    ),
)
days = st.floats(-719_162, 2_932_896)
dates = st.builds(
    DateColumn,
    name=names,
    mean=days,
    std=positive,
    minimum=days,
    maximum=days,
    parts=st.lists(st.sampled_from(["month", "day", "weekday", "hour"]), unique=True),
    missing=missing,
    origin=days,
    center=st.none() | days,
    scale=st.none() | positive,
)
labels = st.one_of(
    st.lists(kind, min_size=2, max_size=5, unique=True)
    for kind in (names, finite, st.integers(-(2**63), 2**64 - 1), st.booleans())
)
targets = st.one_of(
    st.builds(ClassTarget, name=names, labels=labels),
    st.builds(NumericTarget, name=names, mean=finite, std=st.floats(1e-300, 1e300), minimum=finite, maximum=finite),
    st.builds(
        NumericTarget, name=names, mean=moderate, std=positive, minimum=moderate, maximum=moderate, origin=moderate
    ),
)
schemas = st.builds(
    Schema,
    columns=st.lists(numeric | categorical | dates, min_size=1, max_size=5, unique_by=lambda column: column.name),
    target=targets,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def height(**changes):
    return NumericColumn(**({"name": "height", "mean": 1.7, "std": 0.1, "minimum": 1.4, "maximum": 2.1} | changes))


def arrival(**changes):
    fields = {"name": "arrival", "mean": 19_000, "std": 30, "minimum": 18_000, "maximum": 20_000}
    return DateColumn(**(fields | changes))


def version_1():
    """Returns a header's columns in format version 1."""
    return {
        "columns": [
            {"kind": "numeric", "name": "a", "mean": 1.0, "std": 2.0, "minimum": -1.0, "maximum": 5.0}
            | {"missing": "mean", "origin": 0.5},
            {"kind": "categorical", "name": "b", "categories": ["x", "y"], "unknown": "ignore", "missing": "refuse"},
        ],
        "target": {"kind": "class", "name": "t", "labels": ["no", "yes"]},
    }


def sound():
    raw = version_1()
    raw["columns"][0] |= {"center": 1.5, "scale": 3.0}
    raw["columns"][1] |= {"encoding": "sign"}
    raw["columns"].append(
        {"kind": "date", "name": "d", "mean": 1.0, "std": 2.0, "minimum": -1.0, "maximum": 5.0, "parts": ["month"]}
        | {"missing": "indicator", "origin": 1.0, "center": 1.5, "scale": 3.0}
    )
    return raw


@given(schemas)
def test_a_schema_comes_back_the_same_from_its_dict_and_from_json(schema):
    plain = schema.to_dict()
    assert Schema.from_dict(plain) == schema
    assert json.loads(json.dumps(plain)) == plain, "to_dict gives plain JSON types"
    assert Schema.from_dict(json.loads(json.dumps(plain))) == schema


@given(schemas)
def test_width_features_and_standardisation_count_the_encoded_features(schema):
    expected = []
    for column in schema.columns:
        flag = (Feature(column=column.name, kind="flag"), 0.0, 1.0)
        if isinstance(column, CategoricalColumn):
            if column.encoding == "index":
                index = Feature(column=column.name, kind="index", categories=len(column.categories))
                expected.append((index, 0.0, 1.0))
            else:
                expected += [flag] * (1 if column.encoding == "sign" else len(column.categories))
        else:
            center = column.mean if column.center is None else column.center
            scale = column.std if column.scale is None else column.scale
            expected.append((Feature(column=column.name, kind="number"), center - column.origin, scale))
            parts = column.parts if isinstance(column, DateColumn) else ()
            expected += [flag] * (2 * len(parts) + (column.missing == "indicator"))
    shift, divisor = schema.standardisation()
    assert shift.shape == divisor.shape == (schema.width,)
    assert list(zip(schema.features, shift.tolist(), divisor.tolist(), strict=True)) == expected
    assert schema.names == tuple(column.name for column in schema.columns)


def test_columns_of_format_version_1_mean_what_they_meant():
    schema = Schema.from_dict(version_1())
    assert [column.width for column in schema.columns] == [1, 2]
    shift, divisor = schema.standardisation()
    assert (shift.tolist(), divisor.tolist()) == ([0.5, 0.0, 0.0], [2.0, 1.0, 1.0])
    rows = RowEncoder(schema).encode_matrix([[3, "y"], [None, "unseen"]])
    assert rows.tolist() == [[2.5, 0.0, 1.0], [0.5, 0.0, 0.0]]


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


def paths_in(value, path=()):
    """Yields every path into a nested value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from paths_in(inner, (*path, key))


PATHS = [path for path in paths_in(sound()) if path]


@settings(max_examples=250)
@given(st.sampled_from(PATHS), json_values)
@example(("columns", 0, "mean"), 10**400)
@example(("columns", 0, "kind"), [])
@example(("columns", 0, "kind"), {})
@example(("columns", 1, "categories"), "xy")
@example(("columns", 1, "categories"), {"x": 1})
@example(("columns", 1, "categories"), 5)
@example(("columns", 0, "scale"), 0)
@example(("columns", 1, "encoding"), [])
@example(("columns", 2, "parts"), "hour")
@example(("columns", 2, "parts"), ["month", "month"])
@example(("columns", 2, "parts"), [["month"]])
@example(("columns", 2, "origin"), 1e300)
@example(("target", "labels"), "ab")
@example(("target", "labels"), [["a"], ["b"]])
@example(("target", "labels"), [0, False])
@example(("target", "labels"), [1.5, math.nan])
@example(("target", "labels"), [0, 10**400])
@pytest.mark.slow
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


@pytest.mark.parametrize("path", [path for path in PATHS if isinstance(path[-1], str)], ids=str)
def test_a_missing_field_is_read_as_its_default_or_refused_by_data_error(path):
    raw = sound()
    place = raw
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    if path[-1] in ("missing", "origin", "unknown", "center", "scale", "parts", "encoding"):
        Schema.from_dict(raw)
    else:
        with pytest.raises(DataError, match=path[-1].rstrip("s")):
            Schema.from_dict(raw)


def test_the_document_of_the_format_names_every_field_of_every_column():
    text = (Path(__file__).parents[3] / "docs" / "checkpoint-format.md").read_text()
    section = text[text.index("## Columns") : text.index("## The store")]
    for column in Schema.from_dict(sound()).to_dict()["columns"]:
        for word in (column["kind"], *column):
            assert f"`{word}`" in section or word == "name", f"{word} of a {column['kind']} column"


@pytest.mark.parametrize("place", [("columns", 0), ("columns", 1), ("columns", 2), ("target",)])
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


@pytest.mark.parametrize(
    "labels",
    [
        *("ab", {"a": 1, "b": 2}, 5, None, [], ["a"], ["a", "a"], ["a", True]),
        *([0, 1, True], [0, 1.0], [0.0, -0.0], [1.5, 1.5], [None, None], [0, 2**64], [-(2**63) - 1, 0], [[0], [1]]),
        *([math.inf, 1.0], [math.nan, 1.0], [math.nan, math.nan], [True], [True, True], [1j, 2j], [b"a", b"b"]),
        *([0, 10**5000], ["a", "\ud800"], [np.int64(0), np.int64(1)]),
    ],
    ids=lambda labels: reprlib.repr(labels) if labels != [0, 10**5000] else "vast",
)
def test_labels_are_a_list_of_two_or_more_distinct_values_of_one_type_that_json_has(labels):
    with pytest.raises(DataError, match="'t'") as refusal:
        ClassTarget(name="t", labels=labels)
    assert len(str(refusal.value)) < 1_000


@pytest.mark.parametrize(
    "labels", [("1", "0"), (1, 0), (0, 2**64 - 1), (1.0, 0.0), (0.1, 1e300), (False, True), ("True", "true")], ids=str
)
def test_labels_keep_their_type_through_json(labels):
    columns = (height(),)
    schema = Schema(columns=columns, target=ClassTarget(name="t", labels=labels))
    read = Schema.from_dict(json.loads(json.dumps(schema.to_dict()))).target.labels
    assert list(map(repr, read)) == list(map(repr, labels))


@pytest.mark.parametrize("field", ["mean", "std", "minimum", "maximum", "origin", "center", "scale"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "1", None, True, [1.0], 10**400, VAST, 1j])
def test_a_statistic_is_a_finite_number(field, value):
    if value is None and field in ("center", "scale"):
        assert height(**{field: value}) == height()
        return
    for column in (height, arrival):
        with pytest.raises(DataError, match=f"'{column.__name__}': {field}"):
            column(**{field: value})
    if field not in ("center", "scale"):
        with pytest.raises(DataError, match=f"'y': {field}"):
            NumericTarget(**({"name": "y", "mean": 0, "std": 1, "minimum": 0, "maximum": 0} | {field: value}))


@pytest.mark.parametrize("std", [0, -0.0, -1, -5e-324])
def test_a_standard_deviation_is_above_zero(std):
    for column in (height, arrival):
        with pytest.raises(DataError, match="std must be above 0"):
            column(std=std)
        with pytest.raises(DataError, match="scale must be above 0"):
            column(scale=std)


@pytest.mark.parametrize(("mean", "origin"), [(1e39, 0), (-1e39, 0), (1e308, -1e308), (2.0**128 - 2.0**103, 0)])
def test_a_mean_that_could_not_stand_in_for_a_missing_value_is_refused(mean, origin):
    with pytest.raises(DataError, match="mean - origin is too large"):
        height(mean=mean, origin=origin)
    with pytest.raises(DataError, match="center - origin is too large"):
        height(center=mean, origin=origin)


@pytest.mark.parametrize("field", ["mean", "minimum", "maximum", "origin", "center"])
@pytest.mark.parametrize("value", [-719_163, 2_932_898, 1e300])
def test_a_day_outside_the_years_1_to_9999_is_refused(field, value):
    with pytest.raises(DataError, match=f"'arrival': {field} must be in the years 1 to 9999"):
        arrival(**{field: value})


@pytest.mark.parametrize("parts", ["hour", ["year"], ["hour", "hour"], [1], {"hour": 1}, None])
def test_parts_are_a_list_of_known_ones_each_once(parts):
    with pytest.raises(DataError, match="'arrival': parts"):
        arrival(parts=parts)


@pytest.mark.parametrize("categories", [["x"], ["x", "y", "z"]])
def test_a_sign_is_for_two_categories(categories):
    with pytest.raises(DataError, match=f"'b': encoding sign is for two categories, got {len(categories)}"):
        CategoricalColumn(name="b", categories=categories, encoding="sign")


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
