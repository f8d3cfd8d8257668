"""Ensembles made of single networks, and the checkpoint of the first members alone as an oracle."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from serving import make_checkpoint

from models.checkpoint import Checkpoint
from models.columns.schema import Schema


def ensemble(
    schema: Schema, members: int, *hidden: int, weights: tuple[int, ...] | None = None, **architecture: Any
) -> Checkpoint:
    """Returns a checkpoint of an ensemble whose members are drawn from the seeds 0, 1, …; one member is no ensemble.

    Of `weights`, each member has the one at its position.
    """
    singles = [make_checkpoint(schema, *hidden, seed=seed, **architecture) for seed in range(members)]
    first = singles[0]
    if members == 1:
        return first
    tensors = {name: np.stack([single.tensors[name] for single in singles]) for name in first.tensors}
    config = replace(first.config, members=members, member_weights=None if weights is None else weights[:members])
    return Checkpoint(config=config, schema=schema, tensors=tensors)
