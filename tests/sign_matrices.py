"""Rows whose class is the sign of a product, which no plane tells apart."""

from __future__ import annotations

import numpy as np

from training.engines.engine import Matrices


def matrices(rows: int = 200) -> Matrices:
    """150 of the rows to learn from, and the others to validate with."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    return Matrices(x=x[:150], y=y[:150], validation_x=x[150:], validation_y=y[150:])
