"""The real server with a model side that fails for version 2 of `price`, in the way that TESTED_SHADOW says.

Otherwise this program is `python -m service`.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # this tree's packages, whatever is installed

import numpy as np
from numpy.typing import NDArray

from models.keys import parse_key
from service.server import serve
from service.settings import Settings
from service.workers.fault_isolation import MergedBatch
from service.workers.worker import PredictAPI

SLOW_SECONDS = 0.4


class FaultyShadowAPI(PredictAPI):
    """The model side, with a version that fails."""

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        """Computes one forward pass, or fails if the batch is for version 2."""
        if parse_key(batch.key)[1] == 2:
            match os.environ["TESTED_SHADOW"]:
                case "raises":
                    raise ZeroDivisionError("a fault in the shadow's own code")
                case "hangs":
                    threading.Event().wait()
                case "slow":
                    time.sleep(SLOW_SECONDS)
                case "dies":
                    os._exit(9)
                case "memory":
                    import torch

                    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
                case "not finite":
                    return super().predict(batch) * np.float32("nan")
        return super().predict(batch)


if __name__ == "__main__":
    sys.exit(serve(Settings(), FaultyShadowAPI))
