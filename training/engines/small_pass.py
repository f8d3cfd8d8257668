"""A gradient pass of small networks on a CPU: forward and backward over a fixed number of rows, in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from training.engines.network.category_dropout import CategoryDropout
from training.engines.network.losses import Loss
from training.engines.network.masks import HostMasks
from training.engines.network.network import Network
from training.engines.network.small_layers import (
    Array,
    OfTorch,
    SmallBatchNorm,
    SmallDropout,
    SmallLayer,
    SmallLinear,
    SmallReLU,
)
from training.engines.rows import DeviceRows

# Units of the widest layer times rows, over all members. Beyond, both libraries take nearly the same time:
# `python -m benchmarks.training.small_steps` measures them.
_SMALL = 1 << 15


def is_small(config: MLPConfig, rows: int) -> bool:
    """Returns True for networks without input stage for which a `SmallPass` over `rows` is faster than torch."""
    return config.inputs is None and config.members * rows * max(config.layer_sizes) <= _SMALL


class SmallPass:
    """A pass over a fixed number of rows per member, more than one.

    torch computes only the loss; the rest are about 25 calls of NumPy for two hidden layers.
    """

    def __init__(
        self,
        network: Network,
        rows: DeviceRows,
        loss: Loss,
        masks: HostMasks,
        category_dropout: CategoryDropout | None = None,
        *,
        size: int,
    ) -> None:
        """Allocates the memory of the pass.

        Args:
            network: networks on a CPU, without input stage.
            rows: rows of the training part, on the CPU.
            loss: loss of the networks.
            masks: source of the dropout masks.
            category_dropout: dropout of the categorical columns; None for no such dropout.
            size: number of rows per member.
        """
        shape = network.config.members, size
        self._rows = rows.arrays()
        self._batch = [np.empty((*shape, *values.shape[1:]), values.dtype) for values in self._rows]
        self._tensors = [torch.from_numpy(values) for values in self._batch]
        self._loss, self._category_dropout = loss, category_dropout
        self._finish = network.parameters.finish_gradient
        layers = _bound(network, masks, self._batch[0])
        self._forwards = [layer.forward for layer in layers]
        self._backwards = [layer.backward for layer in reversed(layers)]
        self._out: Array = layers[-1].out
        self._out_tensor = torch.from_numpy(self._out)

    def __call__(self, order: NDArray[np.int64]) -> Tensor:
        """Writes the gradient of one batch into the gradient of the parameters.

        Args:
            order: (members, size) row numbers.

        Returns:
            (members,) loss of each member.
        """
        for values, taken in zip(self._rows, self._batch, strict=True):
            np.take(values, order, axis=0, out=taken, mode="clip")  # `raise` would copy once more
        dense, target, *weight = self._tensors
        if self._category_dropout is not None:
            self._category_dropout(dense, None)
        for forward in self._forwards:
            forward()
        value = self._loss(self._out_tensor, target, weight[0] if weight else None, gradient=True)
        gradient = self._out  # the loss has overwritten the output by its derivative
        for backward in self._backwards:
            gradient = backward(gradient)
        self._finish()
        return value


def _bound(network: Network, masks: HostMasks, x: NDArray[np.floating[Any]]) -> list[SmallLayer]:
    """Returns the layers of the networks, each bound to the output of the layer before."""
    layers: list[SmallLayer] = []
    config, parameters = network.config, network.parameters
    for spec, of_torch in network.layers:
        layer: SmallLayer
        match spec.kind:
            case "linear":
                scale = network.scales[f"{spec.name}.weight"]
                layer = SmallLinear(spec.name, x, parameters, scale=scale, is_first=not layers)
            case "batch_norm":
                layer = SmallBatchNorm(spec.name, x, parameters, network.norms[spec.name])
            case "dropout":
                layer = SmallDropout(x, masks)
            case "activation" if config.activation == "relu" and not config.learned_activation:
                layer = SmallReLU(x)
            case _:
                layer = OfTorch(of_torch, x)
        layers.append(layer)
        x = layer.out
    return layers
