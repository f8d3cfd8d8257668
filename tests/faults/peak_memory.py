"""The peak memory of processes during a block, relative to the start of the block."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self


class PeakMemory:
    """The growth of the peak resident memory of processes, by the kernel's count.

    Args:
        pids: ids of the processes, which must live through the block.
    """

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = list(pids)
        self._before: dict[int, int] = {}

    def __enter__(self) -> Self:
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # resets the high-water mark
            self._before[pid] = _kilobytes(pid, "VmRSS")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        pass

    def growth(self) -> int:
        """Returns the growth in bytes of the process that grew most."""
        return max(_kilobytes(pid, "VmHWM") - before for pid, before in self._before.items()) * 1024


def _kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None, f"process {pid} has no {name}"
    return int(found[1])
