"""Blocks of a plan are few, large, requested ahead and once each, within a bound of the memory."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from scoring.range_plan import BLOCK_BYTES, HELD_BYTES, RangePlan
from scoring.ranged_file import ForwardFile, RangedFile

MB = 1 << 20


class Source:
    """A large object of which each byte can be told by its place."""

    def __init__(self, size):
        self.pattern = np.random.default_rng(0).integers(0, 256, MB + 7, dtype=np.uint8).tobytes()
        self.size = size
        self.requests = []
        self.lock = threading.Lock()

    def at(self, start, end):
        first = start % len(self.pattern)
        return (self.pattern[first:] + self.pattern * (1 + (end - start) // len(self.pattern)))[: end - start]

    def fetch(self, start, end):
        with self.lock:
            self.requests.append((start, end))
        return memoryview(self.at(start, end))


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.parametrize(
    ("columns", "chunk", "groups"), [(3, 40 * MB, 1), (31, 16 * MB, 1), (31, MB // 2, 6), (400, MB, 1), (2, 1000, 3)]
)
def test_columns_side_by_side_bring_each_byte_once_in_few_requests(pool, columns, chunk, groups):
    gap = 10 * MB  # of columns that are not read, before each group
    starts = [
        [gap + group * (gap + columns * chunk) + place * chunk for place in range(columns)] for group in range(groups)
    ]
    source = Source(starts[-1][-1] + chunk + gap)
    file = RangedFile(source.fetch, source.size, pool, loose_bytes=1 << 16)
    plan = RangePlan([[(start, start + chunk) for start in group] for group in starts])
    file.follow(plan)
    most = 0
    for group in starts:
        for place in range(0, chunk, 1 << 18):
            for start in group:
                file.seek(start + place)
                wanted = min(1 << 18, chunk - place)
                data = file.read(wanted)
                assert data[:50] == source.at(start + place, start + place + min(50, wanted))
                assert len(data) == wanted
                most = max(most, file._held)
    total = sum(end - start for start, end in source.requests)
    assert total == groups * columns * chunk
    assert sorted(source.requests) == sorted(plan.blocks)
    assert most <= HELD_BYTES
    held_each = HELD_BYTES // (2 * columns)
    largest = BLOCK_BYTES if columns * chunk <= HELD_BYTES // 2 else min(BLOCK_BYTES, held_each)
    assert len(source.requests) <= groups * columns * chunk / largest * 1.5 + groups * (columns if chunk > MB else 1)


def test_bytes_outside_the_plan_come_too(pool):
    source = Source(3 * MB)
    file = RangedFile(source.fetch, source.size, pool, loose_bytes=1 << 16)
    file.keep(3 * MB - 100, memoryview(source.at(3 * MB - 100, 3 * MB)))
    file.seek(-60, 2)
    assert file.read() == source.at(3 * MB - 60, 3 * MB)
    assert not source.requests
    file.follow(RangePlan([[(MB, 2 * MB)]]))
    for start, end in ((0, 10), (MB - 5, MB + 5), (2 * MB - 5, 3 * MB), (10, 20), (0, 3 * MB)):
        file.seek(start)
        assert file.read(end - start) == source.at(start, end)
    assert file.read(5) == b""


def test_a_stream_comes_in_order_ahead_and_not_before_it_is_read(pool):
    source = Source(50 * MB + 3)
    file = ForwardFile(source.fetch, source.size, pool)
    assert file.read(10) == source.at(0, 10)
    assert len(source.requests) == 1
    assert source.requests[0][1] < MB
    assert file.read(MB - 10) == source.at(10, MB)  # the first lines
    assert source.requests[-1][1] < 2 * MB
    place = MB
    while data := file.read(3 * MB):
        assert data == source.at(place, place + len(data))
        place += len(data)
    assert place == source.size
    assert sum(end - start for start, end in source.requests) == source.size
    assert len(source.requests) < 20
