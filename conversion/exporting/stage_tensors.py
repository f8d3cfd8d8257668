"""The tensors of a network's stages by name: the names of a state dict of `nn.Sequential`."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from models.network.inference_network import Activate, Affine, LayerNorm, Stage
from models.network.input_stage import InputStage

Float32Array = NDArray[np.float32]


def stage_tensors(stages: tuple[Stage, ...]) -> dict[str, Float32Array]:
    """Returns the tensors of a member's stages, as `0.weight`, by the position of the stage."""
    return {f"{i}.{name}": array for i, stage in enumerate(stages) for name, array in _tensors(stage).items()}


def _tensors(stage: Stage) -> dict[str, Float32Array]:
    match stage:
        case Affine() | LayerNorm():
            return {"weight": stage.weight, "bias": stage.bias}
        case Activate():
            return {} if stage.mix is None else {"mix": stage.mix}
        case InputStage():
            names = ("shift", "divisor", "frequency", "phase", "table")
            return {name: getattr(stage, name) for name in names}
        case _:
            assert_never(stage)


def output_width(stage: Stage, width: int) -> int:
    """Returns the number of features after a stage that takes `width` features."""
    match stage:
        case Affine():
            return len(stage.bias)
        case InputStage():
            return stage.out_features
        case _:
            return width
