"""The parts of a finished run: parameters, which training learned, and hyperparameters, which were chosen before it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.checkpoint import Checkpoint
from training.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedTensor:
    """A tensor of parameters in a checkpoint.

    Attributes:
        name: tensor name, such as `layers.0.weight`.
        shape: shape, members of an ensemble first.
        mean: mean of its numbers.
        least: smallest number.
        most: greatest number.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    least: float
    most: float

    @property
    def parameters(self) -> int:
        """Number of parameters in the tensor."""
        return int(np.prod(self.shape))


def parameters_of(checkpoint: Checkpoint) -> tuple[LearnedTensor, ...]:
    """Lists the tensors that training learned; running statistics, which are measured, are not among them."""
    buffers = {f"{layer.name}.{name}" for layer in checkpoint.config.layers() for name in layer.buffers}
    return tuple(
        LearnedTensor(
            name=name,
            shape=checkpoint.tensors[name].shape,
            mean=float(checkpoint.tensors[name].mean(dtype=np.float64)),
            least=float(checkpoint.tensors[name].min()),
            most=float(checkpoint.tensors[name].max()),
        )
        for name in checkpoint.config.tensor_shapes()
        if name not in buffers
    )


def hyperparameters_of(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns the settings that were chosen before training, by name, as JSON types."""
    return {name: checkpoint.training[name] for name in TrainConfig.setting_names() if name in checkpoint.training}


def outcome_of(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns what else is recorded of the run, such as epochs run and epoch kept, without the history."""
    known = {*TrainConfig.setting_names(), "history"}
    return {name: value for name, value in checkpoint.training.items() if name not in known}
