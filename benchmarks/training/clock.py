"""What time a contestant is charged: CPU seconds of its process, or on a GPU the seconds until it has done its work."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Clock:
    """A clock of what runs on a device.

    CPU time, of all threads of this process, is what a shared machine leaves comparable; a GPU has none of its own.

    Attributes:
        device: as torch names it.
    """

    device: str = "cpu"

    @property
    def unit(self) -> str:
        """What a rate of it is a rate of."""
        return "CPU second" if self.device == "cpu" else "second"

    def seconds(self) -> float:
        """Now."""
        if self.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize(self.device)
        return time.perf_counter()


CPU_CLOCK = Clock()
