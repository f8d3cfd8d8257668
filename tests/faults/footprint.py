"""A server's processes, memory and file descriptors, which must be about the same after a fault as before."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from serving import Server, wait_until

# Allocators keep freed memory, and a newly forked worker fills its own pages: hence a share and a constant.
MEMORY_SHARE = 0.25
MEMORY_BYTES = 48 << 20


@dataclass(frozen=True)
class Footprint:
    """The sums over a server's processes.

    Attributes:
        processes: number of processes.
        memory: proportional set size (PSS) in bytes, in which shared pages are divided among the processes.
        descriptors: number of open file descriptors.
    """

    processes: int
    memory: int
    descriptors: int

    @classmethod
    def of(cls, server: Server) -> Self:
        """Measures the processes now; a process that ends meanwhile does not count."""
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
        """Returns True if no process is missing, and memory and descriptors are within the limits of `before`."""
        return (
            self.processes == before.processes
            and self.descriptors <= before.descriptors
            and self.memory <= before.memory * (1 + MEMORY_SHARE) + MEMORY_BYTES
        )

    def __str__(self) -> str:
        return f"{self.processes} processes, {self.memory >> 20} MiB, {self.descriptors} descriptors"


def wait_for_footprint(server: Server, before: Footprint) -> None:
    """Waits until a server without clients uses no more than before."""
    wait_until(
        lambda: Footprint.of(server).is_back_at(before),
        lambda: f"before: {before}; now: {Footprint.of(server)}\n{server.processes()}",
    )
