"""JSON in pieces: the content, and the length of the pieces."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.http.json_pieces import Members, json_pieces, write_in_steps
from service.step_queue import StepQueue

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=300) | st.dictionaries(st.text(), inner), max_leaves=400
)


def lazy(value):
    """Returns the value with lists and objects that are produced during writing."""
    if isinstance(value, list):
        return map(lazy, value)
    if isinstance(value, dict):
        return Members((name, lazy(child)) for name, child in value.items())
    return value


@given(VALUES)
@pytest.mark.slow
def test_the_pieces_make_the_document(value):
    assert json.loads(b"".join(json_pieces(value))) == value
    assert json.loads(b"".join(json_pieces(lazy(value)))) == value


def test_no_piece_of_a_wide_document_is_long():
    columns = [{"kind": "numeric", "name": f"column {i}", "mean": i / 7, "missing": None} for i in range(10_000)]
    cells = {f"column {i}": i for i in range(10_000)}
    for document in ({"columns": columns, "example": {"instances": [cells]}}, lazy({"columns": columns})):
        pieces = list(json_pieces(document))
        assert len(pieces) > 100
        assert max(map(len, pieces)) < 16_384


def test_what_orjson_does_not_write_is_written_all_the_same():
    value = {"seed": 2**80, "half": "\ud800", "deep": 1.5}
    assert json.loads(b"".join(json_pieces(value))) == value


def test_a_fault_reaches_whoever_asked_and_nobody_else():
    async def scenario():
        queue = StepQueue(asyncio.get_running_loop())
        wrong = write_in_steps(queue, {"a": object()}, 10)
        right = write_in_steps(queue, {"a": list(range(5000))}, 10)
        told, body = await asyncio.gather(wrong, right, return_exceptions=True)
        assert isinstance(told, TypeError)
        assert json.loads(body) == {"a": list(range(5000))}
        assert not queue.is_busy

    asyncio.run(scenario())
