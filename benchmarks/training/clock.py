"""The time that a contestant is charged: CPU seconds of its process, or on a GPU the seconds until its work is done."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Clock:
    """A clock of the work on a device.

    CPU time of all threads of this process can be compared even on a shared machine; a GPU has no such clock.

    Attributes:
        device: name of the torch device.
    """

    device: str = "cpu"

    @property
    def unit(self) -> str:
        """The unit of time."""
        return "CPU second" if self.device == "cpu" else "second"

    def seconds(self) -> float:
        """Returns the present reading, in seconds."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


CPU_CLOCK = Clock()
