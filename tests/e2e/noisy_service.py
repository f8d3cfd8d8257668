"""`python -m service` with a worker as noisy as libraries: warnings, prints, errors in threads, and crashes.

The first cell of a row of `price` selects the noise.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # this tree's packages, whatever is installed

import numpy as np
from numpy.typing import NDArray

from service.server import serve
from service.settings import Settings
from service.workers.fault_isolation import MergedBatch
from service.workers.worker import PredictAPI

WARNS, PRINTS, RAISES, RAISES_IN_THREAD, CRASHES = 5001.0, 5002.0, 5003.0, 5004.0, 5005.0


def _fail() -> None:
    raise ZeroDivisionError("in a thread")


class NoisyPredictAPI(PredictAPI):
    """The model side, with noise."""

    def predict(self, batch: MergedBatch) -> NDArray[np.float32]:
        """Computes one forward pass, with the noise that the rows select."""
        cells = np.concatenate([part.matrix()[:, 0] for part in batch.parts])
        if WARNS in cells:
            np.float32(3e38) * np.float32(10)  # RuntimeWarning: overflow encountered
            warnings.warn("of two\nlines", UserWarning, stacklevel=1)
        if PRINTS in cells:
            print('a print with "quotes"')  # noqa: T201
            os.write(1, b"native, on standard output\n")
            os.write(2, b"{'looks': like an object}\n\xff\xfe bytes that are no text\n[1]\nno end")
            ctypes.CDLL(None).perror(b"from C")
        if RAISES in cells:
            raise ZeroDivisionError("a fault in the model's own code")
        if RAISES_IN_THREAD in cells:
            thread = threading.Thread(target=_fail)
            thread.start()
            thread.join()
        if CRASHES in cells:
            ctypes.string_at(0)
        return super().predict(batch)


if __name__ == "__main__":
    sys.exit(serve(Settings(), NoisyPredictAPI))
