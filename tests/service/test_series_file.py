"""Metrics in files: readers see the sums of what was added, even after a kill, and ended series are gone."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections import defaultdict
from pathlib import Path

import pytest

from service.series_file import Family, Labels, SeriesFile, SeriesReader, Values

COUNTER = Family("c_total", "A counter.", ("model", "version", "status"))
HISTOGRAM = Family("h_seconds", "A histogram.", ("model", "version"), bounds=(1.0, 2.0, 3.0))


def read(folder: Path, family: Family) -> dict[Labels, Values]:
    sums: dict[Labels, Values] = {}
    for sums in SeriesReader(folder, family).read():  # noqa: B007
        pass
    return sums


def test_what_processes_add_is_summed_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    rng = random.Random(0)
    expected: dict[Labels, list[float]] = defaultdict(lambda: [0.0] * HISTOGRAM.width)
    reader = SeriesReader(tmp_path, HISTOGRAM)
    for _ in range(5):
        files = [SeriesFile(tmp_path, role, HISTOGRAM) for role in ("api-0", "worker-1")]
        for _ in range(2_000):
            labels = (f"m{rng.randrange(400)}", str(rng.randrange(1, 4)))
            values = [float(rng.randrange(3)) for _ in range(HISTOGRAM.width)]
            rng.choice(files).add(labels, values)
            expected[labels] = [a + b for a, b in zip(expected[labels], values, strict=True)]
        sums = list(reader.read())[-1]  # a reader that has read the files before
        assert sums == {labels: tuple(values) for labels, values in expected.items()}
        for file in files:
            file.close()


def test_series_that_end_leave_room_for_others(tmp_path: Path) -> None:
    file = SeriesFile(tmp_path, "api-0", COUNTER)
    size = COUNTER.file(tmp_path, "api-0").stat().st_size
    for version in range(1, 5_000):
        for status in ("200", "422"):
            file.add(("m", str(version), status), (version,))
        file.end(lambda labels, oldest=version - 2: int(labels[1]) <= oldest)  # type: ignore[misc]
    assert COUNTER.file(tmp_path, "api-0").stat().st_size == size
    assert read(tmp_path, COUNTER) == {
        ("m", str(version), status): (version,) for version in (4_998, 4_999) for status in ("200", "422")
    }
    file.close()


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_that_is_not_whole_is_passed_over(tmp_path: Path, half: int) -> None:
    file = SeriesFile(tmp_path, "api-0", COUNTER)
    for _ in range(2):
        file.add(("m", "1", "200"), (1,))
    size = file._half_bytes
    file.close()
    path = COUNTER.file(tmp_path, "api-0")
    content = bytearray(path.read_bytes())
    content[half * size + size - 1] ^= 0x40  # a bit of the value's last byte
    path.write_bytes(content)
    [(count,)] = read(tmp_path, COUNTER).values()
    assert count in (1, 2)
    successor = SeriesFile(tmp_path, "api-0", COUNTER)
    successor.add(("m", "1", "200"), (1,))
    assert read(tmp_path, COUNTER) == {("m", "1", "200"): (count + 1,)}
    successor.close()


def test_where_the_disk_has_no_room_nothing_fails_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = SeriesFile(tmp_path, "api-0", COUNTER)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    for _ in range(2):
        for version in range(300):
            file.add(("m", str(version), "200"), (1,))
    assert len(read(tmp_path, COUNTER)) == 256
    monkeypatch.undo()
    for version in range(300):
        file.add(("m", str(version), "200"), (1,))
    assert read(tmp_path, COUNTER) == {("m", str(version), "200"): (3,) for version in range(300)}
    file.close()


def _count(folder: Path) -> None:
    file = SeriesFile(folder, "worker-0", HISTOGRAM)
    while True:
        for version in range(20):
            file.add(("m", str(version)), (1, 0, 0, 0, 1))


@pytest.mark.slow
def test_counts_never_go_back_whenever_the_writer_is_killed(tmp_path: Path) -> None:
    reader = SeriesReader(tmp_path, HISTOGRAM)
    before: dict[Labels, Values] = {}
    for _ in range(6):
        writer = multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path,))
        writer.start()
        try:
            at_start, reads = sum(values[0] for values in before.values()), 0
            while reads < 100:
                *_, sums = reader.read()
                reads += sum(values[0] for values in sums.values()) > at_start  # the new writer is at work
                for labels, values in before.items():
                    assert labels in sums
                    assert sums[labels][0] >= values[0]
                    assert sums[labels][0] == sums[labels][-1], "count and sum are of the same moment"
                before = dict(sums)
        finally:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
    assert before
