"""The memory of a process, by the counts of the kernel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Memory:
    """The memory of one process, or of several processes together, in MB.

    Attributes:
        pss: proportional set size, in which a page that n processes share counts as 1/n in each.
        private: unique set size: pages that no other process has.
        anonymous: part of `pss` that belongs to no file. The kernel can drop pages of a file and read them again, so
            this is the part that a machine must have.
    """

    pss: float = 0.0
    private: float = 0.0
    anonymous: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Self:
        """Measures one process now; raises OSError if the process has ended."""
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kilobytes = {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", rollup, re.MULTILINE)}
        return cls(
            pss=kilobytes.get("Pss", 0) / 1024,
            private=(kilobytes.get("Private_Clean", 0) + kilobytes.get("Private_Dirty", 0)) / 1024,
            anonymous=kilobytes.get("Pss_Anon", 0) / 1024,
        )

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.pss + other.pss, self.private + other.private, self.anonymous + other.anonymous)
