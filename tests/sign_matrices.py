"""Rows whose class is the sign of a product, so that no plane separates the classes."""

from __future__ import annotations

import numpy as np

from training.engines.engine import Matrices


def matrices(rows: int = 200) -> Matrices:
    """Returns matrices with 150 of the rows for training and the others for validation."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    return Matrices(x=x[:150], y=y[:150], validation_x=x[150:], validation_y=y[150:])
