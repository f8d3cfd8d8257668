"""One hidden ReLU layer with constructed weights that joins given points by straight lines."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig


def joined(knots: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[MLPConfig, dict[str, NDArray[np.float64]]]:
    """Constructs the network through the points; unit i becomes active at knot i and adds the change of slope there.

    Args:
        knots: (n + 1,) positions of the points, rising.
        values: (n + 1,) values at the points.

    Returns:
        Architecture 1-n-1 and the tensors by name.
    """
    slopes = np.diff(values) / np.diff(knots)  # (n,)
    tensors = {
        "layers.0.weight": np.ones((len(slopes), 1)),
        "layers.0.bias": -knots[:-1],
        "layers.1.weight": np.diff(slopes, prepend=0.0)[None, :],
        "layers.1.bias": values[:1],
    }
    return MLPConfig(layer_sizes=(1, len(slopes), 1), activation="relu", output="linear"), tensors
