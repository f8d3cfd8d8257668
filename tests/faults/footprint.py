"""What a server holds of its machine: processes, memory and file descriptors; after a fault, as much as before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from serving import Server, wait_until

# Allocators keep what was freed, and a worker that is forked anew fills its own pages: a share and a constant.
MEMORY_SHARE = 0.25
MEMORY_BYTES = 48 << 20


@dataclass(frozen=True)
class Footprint:
    """The sums over a server's processes.

    Attributes:
        processes: how many there are.
        memory: bytes, each page that several processes share counted once (PSS).
        descriptors: open file descriptors.
    """

    processes: int
    memory: int
    descriptors: int

    @classmethod
    def of(cls, server: Server) -> Self:
        """Now; a process that ends while it is looked at counts for nothing."""
        processes = memory = descriptors = 0
        for pid in server.processes():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                opened = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            except OSError:
                continue
            found = re.search(r"^Pss: +(\d+) kB$", rollup, re.MULTILINE)
            processes += 1
            memory += int(found[1]) * 1024 if found else 0
            descriptors += opened
        return cls(processes, memory, descriptors)

    def is_back_at(self, before: Footprint) -> bool:
        """Whether this is no more than it was before, and no process is missing either."""
        return (
            self.processes == before.processes
            and self.descriptors <= before.descriptors
            and self.memory <= before.memory * (1 + MEMORY_SHARE) + MEMORY_BYTES
        )

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.memory >> 20} MiB, {self.descriptors} descriptors"


def comes_back(server: Server, before: Footprint) -> None:
    """Waits until a server whose clients have gone holds what it held before."""
    wait_until(
        lambda: Footprint.of(server).is_back_at(before),
        lambda: f"before: {before}; now: {Footprint.of(server)}\n{server.processes()}",
    )
