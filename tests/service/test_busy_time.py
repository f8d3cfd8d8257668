"""Busy time grows while a thread computes or waits for a processor, and stands while the thread sleeps."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from service.busy_time import BusyTime


def compute(seconds: float) -> None:
    """Computes until the thread has used CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def test_work_counts_and_sleep_does_not() -> None:
    busy = BusyTime()
    before = busy.seconds()
    compute(0.1)
    worked = busy.seconds() - before
    assert worked >= 0.09
    before, began = busy.seconds(), time.perf_counter()
    time.sleep(0.2)
    asleep = time.perf_counter() - began
    assert busy.seconds() - before < asleep / 2
    busy.close()


@pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the kernel counts no waiting")
def test_the_wait_for_a_processor_counts() -> None:
    # Two processes on one processor: each is busy all the time, with half of the CPU time.
    read, write = os.pipe()
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        other = os.fork()
        if not other:  # works on the same processor until its parent has done
            os.close(write)
            os.set_blocking(read, False)
            while True:
                try:
                    os.read(read, 1)
                    os._exit(0)
                except BlockingIOError:
                    pass
        os.close(read)
        busy = BusyTime()
        before, began, cpu = busy.seconds(), time.perf_counter(), time.thread_time()
        compute(0.2)
        wall, worked, used = time.perf_counter() - began, busy.seconds() - before, time.thread_time() - cpu
    finally:
        os.sched_setaffinity(0, cpus)
        os.close(write)
    os.waitpid(other, 0)
    busy.close()
    assert worked > 1.3 * used
    assert worked == pytest.approx(wall, rel=0.2, abs=0.05)


def test_without_the_kernels_count_cpu_time_counts() -> None:
    busy = BusyTime()
    busy.close()
    before = busy.seconds()
    compute(0.05)
    assert 0.05 <= busy.seconds() - before < 1
