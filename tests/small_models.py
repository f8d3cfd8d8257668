"""Small checkpoints that are told apart by their seed, for tests of stores."""

from __future__ import annotations

import numpy as np

from models.checkpoint import Checkpoint
from models.columns.schema import NumericColumn, NumericTarget, Schema
from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP

CONFIG = MLPConfig(layer_sizes=(1, 2, 1), output="linear")
SCHEMA = Schema(
    columns=(NumericColumn(name="x", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),),
    target=NumericTarget(name="y", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0),
)


def small_model(seed: int = 0) -> Checkpoint:
    """Returns a regression of one column; each seed gives other weights."""
    return Checkpoint(
        config=CONFIG, schema=SCHEMA, tensors=NumpyMLP(CONFIG, rng=np.random.default_rng(seed)).to_tensors()
    )
