"""One hidden ReLU layer joins given points by straight lines, with weights that are written down."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig


def joined(knots: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[MLPConfig, dict[str, NDArray[np.float64]]]:
    """Writes down the network through the points; unit i switches on at knot i and adds what the slope changes there.

    Args:
        knots: positions of the points, (n + 1,), rising.
        values: values at the points, (n + 1,).

    Returns:
        Architecture 1-n-1 and its tensors by name.
    """
    slopes = np.diff(values) / np.diff(knots)  # (n,)
    tensors = {
        "layers.0.weight": np.ones((len(slopes), 1)),
        "layers.0.bias": -knots[:-1],
        "layers.1.weight": np.diff(slopes, prepend=0.0)[None, :],
        "layers.1.bias": values[:1],
    }
    return MLPConfig(layer_sizes=(1, len(slopes), 1), activation="relu", output="linear"), tensors
