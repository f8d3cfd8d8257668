"""JSON written in many short calls equals JSON written in one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.json_parts import canonical_json, loads_in_parts

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=150) | st.dictionaries(st.text(), inner), max_leaves=200
)


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@given(VALUES)
@pytest.mark.slow
def test_it_reads_and_writes_what_json_does(value):
    text = canonical(value)
    assert canonical_json(value) == text
    assert loads_in_parts(text) == json.loads(text)


@given(VALUES, st.data())
@pytest.mark.slow
def test_what_is_not_json_is_refused(value, data):
    text = canonical(value)
    at = data.draw(st.integers(0, len(text)))
    broken = text[:at] + data.draw(st.sampled_from(["", ",", "}", "]", "{", "[", '"', ":"])) + text[at + 1 :]
    try:
        expected = json.loads(broken)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 -- any
            loads_in_parts(broken)
    else:
        assert loads_in_parts(broken) == expected


def test_equal_names_are_kept_once():
    columns = loads_in_parts('[{"a long name":1},{"a long name":2}]')
    first, second = (next(iter(column)) for column in columns)
    assert first is second
