"""The memory of networks: bounded by number and bytes; pinned networks and those that could not return never leave."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.network_memory import NetworkMemory


@dataclass(frozen=True)
class Block:
    """A network of so many bytes."""

    memory_bytes: int


def memory_of(limit: int | None = 100, capacity: int = 10, lost: frozenset[str] = frozenset()) -> NetworkMemory[Block]:
    return NetworkMemory(capacity=capacity, limit_bytes=limit, can_return=lambda key: key not in lost)


def test_the_least_recently_used_network_leaves() -> None:
    memory = memory_of()
    for key in "abc":
        memory.add(key, Block(30))
    memory.get("a")
    assert memory.make_room(40) == []
    assert memory.keys() == ["c", "a"]
    assert (memory.loads, memory.evictions, memory.total_bytes) == (3, 1, 60)


def test_a_pinned_network_stays_and_is_named() -> None:
    memory = memory_of()
    for key in "abc":
        memory.add(key, Block(30))
        assert memory.pin(key)
    memory.unpin("b")
    assert memory.make_room(70) == ["a"]
    assert memory.keys() == ["a", "c"]
    memory.unpin("a")
    assert memory.make_room(70) == []
    assert not memory.pin("a")


def test_a_network_that_could_not_return_stays_even_beyond_the_limit() -> None:
    memory = memory_of(lost=frozenset("a"))
    memory.add("a", Block(90))
    assert memory.make_room(90) == []
    memory.add("b", Block(90))
    memory.trim()
    assert memory.keys() == ["a"]


def test_no_network_leaves_for_one_that_is_larger_than_the_limit() -> None:
    memory = memory_of()
    memory.add("a", Block(30))
    assert memory.make_room(101) == []
    assert memory.keys() == ["a"]


@pytest.mark.parametrize("limit", [None, 60])
@given(uses=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 40)), max_size=40))
def test_it_is_an_lru_cache_of_both_limits(limit: int | None, uses: list[tuple[str, int]]) -> None:
    memory, expected, sizes = memory_of(limit, capacity=4), OrderedDict[str, int](), dict[str, int]()
    for key, size in uses:
        size = sizes.setdefault(key, size)
        if memory.get(key) is None:
            memory.make_room(size)
            memory.add(key, Block(size))
        if key in expected:
            expected.move_to_end(key)
            continue
        while len(expected) > 3 or (limit is not None and sum(expected.values()) + size > limit):
            expected.popitem(last=False)
        expected[key] = size
    assert memory.keys() == list(expected)
