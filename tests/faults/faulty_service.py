"""The real server with a model side that fails on certain rows of `price`: errors, hangs, no memory.

Otherwise this program is `python -m service`. The first cell of a row selects the fault: see `poison.py`.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))  # this tree's packages, whatever is installed

import numpy as np
from numpy.typing import NDArray
from poison import (
    DEVICE_FAULT,
    FIRST_DEVICE_FAULT,
    FIRST_HANG,
    HANGS,
    OUT_OF_MEMORY,
    RAISES,
    ROOM,
    SLOW,
    SLOW_SECONDS,
    SPINS,
)

from inference.errors import DeviceFault
from service.server import serve
from service.settings import Settings
from service.workers.fault_isolation import MergedBatch
from service.workers.worker import PredictAPI


class SmallMemoryNetwork:
    """A network on a device with memory for few rows, with torch's error for more."""

    def __init__(self, network: Any) -> None:
        self._network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def forward(self, x: NDArray[np.float32], members: int | None = None) -> NDArray[np.float32]:
        """Answers rows that fit into the memory."""
        if OUT_OF_MEMORY in x[:, 0] and len(x) > ROOM:
            import torch

            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        answers: NDArray[np.float32] = self._network.forward(x, members)
        return answers


class FaultyPredictAPI(PredictAPI):
    """The model side, with faults."""

    def open(self, device: str, number: int) -> None:
        """Opens the engine as usual, on a device with little memory."""
        super().open(device, number)
        load = self.engine.load
        self.engine.load = lambda key: SmallMemoryNetwork(load(key))

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        """Computes one forward pass, or causes the fault that a row selects."""
        cells = np.concatenate([part.matrix()[:, 0] for part in batch.parts])
        if RAISES in cells:
            raise ZeroDivisionError("a fault in the model's own code")
        if HANGS in cells or (FIRST_HANG in cells and self._first("hang")):
            threading.Event().wait()
        if SPINS in cells:
            sys.setswitchinterval(1e9)
            while True:
                pass
        if SLOW in cells:
            time.sleep(SLOW_SECONDS)
        if DEVICE_FAULT in cells or (FIRST_DEVICE_FAULT in cells and self._first("fault")):
            raise DeviceFault("an illegal memory access was encountered.")
        return super().predict(batch)

    def _first(self, fault: str) -> bool:
        """Returns True if this fault has not occurred before, in any worker of this server."""
        try:
            Path(self.runtime_dir, f"{fault}-was-here").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(serve(Settings(), FaultyPredictAPI))
