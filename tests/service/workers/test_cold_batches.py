"""Batches of versions that are not in memory: one load at a time, in turn, and versions in use make room in time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from service.workers.cold_batches import ColdBatches, Fetched

NEVER = float("inf")


class Memory:
    """A memory for a few versions, pinned at first."""

    def __init__(self, *keys: str, room: int) -> None:
        self.keys, self.pinned, self.room = set(keys), set(keys), room
        self.fetched: list[str] = []
        self.go = threading.Event()
        self.go.set()

    def pin(self, key: str) -> bool:
        if key in self.keys:
            self.pinned.add(key)
        return key in self.keys

    def make_room(self, _: str) -> list[str]:
        while len(self.keys) >= self.room and self.keys - self.pinned:
            self.keys.discard(min(self.keys - self.pinned))
        return sorted(self.pinned)[: max(0, len(self.keys) + 1 - self.room)]

    def fetch(self, key: str) -> bytes | None:
        assert self.go.wait(10)
        self.fetched.append(key)
        if key == "bad":
            return b"refused"
        self.keys.add(key)
        self.pinned.add(key)
        return None


Line = ColdBatches[tuple[str, float]]


@pytest.fixture
def make_line() -> Iterator[Callable[[Memory], Line]]:
    lines: list[Line] = []

    def make(memory: Memory) -> Line:
        lines.append(ColdBatches(memory, memory.fetch, lambda: None, lambda item: item[1]))
        return lines[-1]

    yield make
    for line in lines:
        line.close()


def next_fetched(line: Line) -> Fetched[tuple[str, float]]:
    deadline = time.monotonic() + 10
    while (fetched := line.take_fetched()) is None:
        assert time.monotonic() < deadline
    return fetched


def test_versions_are_loaded_in_the_order_of_their_first_batches(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory(room=10)
    line = make_line(memory)
    for key, name in [("b", "1"), ("a", "2"), ("b", "3"), ("bad", "4")]:
        line.add(key, (name, NEVER))
    found = []
    while line:
        assert line.start_next() == []
        found.append(next_fetched(line))
    assert [(one.key, [name for name, _ in one.items], one.refusal) for one in found] == [
        ("b", ["1", "3"], None),
        ("a", ["2"], None),
        ("bad", ["4"], b"refused"),
    ]


def test_one_load_is_under_way_at_a_time(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory(room=10)
    memory.go.clear()
    line = make_line(memory)
    line.add("a", ("1", NEVER))
    line.add("b", ("2", NEVER))
    line.start_next()
    line.start_next()
    assert line.take_fetched() is None
    memory.go.set()
    next_fetched(line)
    assert memory.fetched == ["a"]


def test_versions_in_use_take_no_new_batches_and_leave_once_they_are_done(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory("x", "y", room=2)
    line = make_line(memory)
    line.add("a", ("1", NEVER))
    assert line.start_next() == []
    assert line.closing == {"x"}
    line.add("x", ("2", NEVER))  # a new batch for the closing version gets in line
    assert line.start_next() == []
    memory.pinned.discard("x")  # its earlier batches are done
    assert line.start_next() == []
    assert next_fetched(line).key == "a"
    assert memory.keys == {"a", "y"}
    memory.pinned.clear()
    assert line.start_next() == []
    assert line.closing == frozenset()
    assert next_fetched(line).key == "x"


def test_a_version_that_is_in_memory_by_now_needs_no_load(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory(room=10)
    line = make_line(memory)
    line.add("a", ("1", NEVER))
    memory.keys.add("a")
    [ready] = line.start_next()
    assert (ready.key, ready.refusal, memory.fetched) == ("a", None, [])


def test_nothing_is_loaded_for_batches_whose_deadlines_have_passed(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory(room=10)
    line = make_line(memory)
    line.add("a", ("1", time.monotonic() - 1))
    [ready] = line.start_next()
    assert ([name for name, _ in ready.items], memory.fetched) == (["1"], [])


def test_batches_of_a_client_process_that_has_gone_are_removed(make_line: Callable[[Memory], Line]) -> None:
    line = make_line(Memory(room=10))
    line.add("a", ("1", NEVER))
    line.add("b", ("2", NEVER))
    line.remove(lambda item: item[0] == "1")
    assert "a" not in line
    assert "b" in line


def test_a_load_that_nobody_waits_for_any_more_has_an_end_to_take(make_line: Callable[[Memory], Line]) -> None:
    memory = Memory(room=10)
    memory.go.clear()
    line = make_line(memory)
    line.add("a", ("1", NEVER))
    line.start_next()
    line.remove(lambda _: True)
    assert line
    memory.go.set()
    fetched = next_fetched(line)
    assert (fetched.key, list(fetched.items), memory.pinned) == ("a", [], {"a"}), "the caller lets it leave"
    assert not line
