"""The memory of a crowd of large buffers leaves the process, whatever small objects live on above the buffers."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.buffer_memory import BufferMemory

MIB = 1 << 20

# Frees a buffer of 4 MiB, so that the C library takes later ones from its heap. Then 60 buffers, a small object above
# each; the small objects live on.
SCRIPT = """
import ctypes, sys
from service.buffer_memory import buffer_memory
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

free(malloc(8 << 20))
before = resident()
if sys.argv[1] == "crowded":
    buffer_memory.report("http", 65 << 20)
buffers, small = [], []
for _ in range(60):
    buffers.append(malloc(4 << 20))
    ctypes.memset(buffers[-1], 1, 4 << 20)
    small.append(malloc(3000))
for buffer in buffers:
    free(buffer)
print(resident() - before)
"""


def left(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


def test_a_crowd_of_large_buffers_leaves_the_process() -> None:
    assert left("calm") > 200 * MIB, "the C library keeps them otherwise"
    assert left("crowded") < 16 * MIB


@pytest.mark.parametrize("doors", [("http",), ("http", "grpc")])
def test_the_bytes_of_all_doors_count_and_the_crowd_ends_well_below_its_begin(doors: tuple[str, ...]) -> None:
    memory = BufferMemory()

    def report(held: int) -> bool:
        for door in doors:
            memory.report(door, held // len(doors))
        return memory.is_crowded

    assert [report(mib * MIB) for mib in (0, 60, 66, 40, 17, 15, 60, 66, 0)] == [
        False, False, True, True, True, False, False, True, False,
    ]  # fmt: skip
