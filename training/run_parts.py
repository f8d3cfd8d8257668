"""The parts of a finished run: learned parameters, and hyperparameters, which were chosen before training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.checkpoint import Checkpoint
from training.config import TrainConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class LearnedTensor:
    """A tensor of parameters in a checkpoint.

    Attributes:
        name: name of the tensor, such as `layers.0.weight`.
        shape: shape of the tensor; the members of an ensemble are the first dimension.
        mean: mean of the values.
        least: smallest value.
        most: greatest value.
    """

    name: str
    shape: tuple[int, ...]
    mean: float
    least: float
    most: float

    @property
    def parameters(self) -> int:
        """The number of parameters in the tensor."""
        return int(np.prod(self.shape))


def parameters_of(checkpoint: Checkpoint) -> tuple[LearnedTensor, ...]:
    """Returns the learned tensors, without running statistics, which are measured."""
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
    """Returns the settings of the network that is served by name, as JSON types.

    A distilled network has some of its own; the others are those of the run.
    """
    settings = {**checkpoint.training, **_of_student(checkpoint)}
    return {name: settings[name] for name in TrainConfig.setting_names() if name in settings}


def teacher_settings_of(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns the settings of the run that a distilled network does not have, as JSON types; empty for others."""
    return {name: checkpoint.training.get(name) for name in _of_student(checkpoint)}


def outcome_of(checkpoint: Checkpoint) -> dict[str, object]:
    """Returns the other records of the run, such as the best epoch, without history and configurations."""
    known = {*TrainConfig.setting_names(), "history", "configurations", "student_settings"}
    return {name: value for name, value in checkpoint.training.items() if name not in known}


def _of_student(checkpoint: Checkpoint) -> Mapping[str, object]:
    found = checkpoint.training.get("student_settings")
    return found if isinstance(found, Mapping) else {}
