"""The networks whose training is measured, as data, and random rows to train on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A network to train, with a batch size and a number of rows.

    Attributes:
        name: name in the tables.
        sizes: layer widths from input to output.
        batch_size: rows per step; `rows` is a multiple of it.
        rows: rows per epoch.
        epochs: number of epochs that are timed in each round, after one that warms up.
        is_normalised: True if each hidden layer has BatchNorm and dropout.
    """

    name: str
    sizes: tuple[int, ...]
    batch_size: int
    rows: int
    epochs: int = 2
    is_normalised: bool = False

    @property
    def steps(self) -> int:
        """Number of steps of one epoch."""
        return self.rows // self.batch_size

    @property
    def flop_per_row(self) -> int:
        """Floating-point operations of one row's products: forward, and all gradients but that of the input."""
        weights = [n_in * n_out for n_in, n_out in itertools.pairwise(self.sizes)]
        return 2 * (3 * sum(weights) - weights[0])

    def data(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Returns random numbers `(rows, in)` and random classes `(rows,)`."""
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.rows, self.sizes[0]), dtype=np.float32)
        return x, rng.integers(self.sizes[-1], size=self.rows)


MNIST_128 = Workload(name="mnist-128", sizes=(784, 512, 256, 10), batch_size=128, rows=12_288)
MNIST_1024 = Workload(name="mnist-1024", sizes=(784, 512, 256, 10), batch_size=1024, rows=12_288)
SMALL_32 = Workload(name="small-32", sizes=(2, 64, 64, 3), batch_size=32, rows=6_400, epochs=8, is_normalised=True)
# What scikit-learn trains, too: neither BatchNorm nor dropout.
PLAIN_32 = Workload(name="plain-32", sizes=(2, 64, 64, 3), batch_size=32, rows=6_400, epochs=8)
WORKLOADS = {workload.name: workload for workload in (MNIST_128, MNIST_1024, SMALL_32, PLAIN_32)}

DROPOUT = 0.2
CLIP_NORM = 1.0
LEARNING_RATE = 1e-3

# The default recipe against pytabkit's: five numbers, two classes, the same rows, batches and widths for both.
RECIPE_FEATURES, RECIPE_BATCH, RECIPE_STEPS = 5, 256, 30
RECIPE_HIDDEN = (256, 256, 256)
RECIPE_ROWS = RECIPE_BATCH * RECIPE_STEPS * 10 // 8  # 80 % for training, 10 % for validation
