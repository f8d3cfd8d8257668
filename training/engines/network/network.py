"""Several networks of one architecture, trained at once: forward, loss, backward, and their tensors in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from training.engines.network.inputs import Inputs
from training.engines.network.layers import Activated, BatchNorm, Dropout, Layer, LayerNorm, Linear, NarrowLinear
from training.engines.network.losses import Loss
from training.engines.network.masks import Masks
from training.engines.network.parameters import Parameters
from training.engines.network.workspace import Workspace


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of each member, ready for the network.

    Attributes:
        dense: (k, b, numbers + flags) or, of a network without inputs, (k, b, in_features).
        rows: (k, b, indices) places in the embedding table, or None.
        target: (k, b) class indices or values; (1, b) where all members have the same.
        weight: like the target, or None.
    """

    dense: Tensor
    rows: Tensor | None
    target: Tensor
    weight: Tensor | None


class Network:
    """The networks.

    Attributes:
        parameters: all of them.
        config: the architecture; its `members` are how many there are.
    """

    def __init__(
        self,
        config: MLPConfig,
        *,
        masks: Masks,
        ntk: bool = False,
        narrow: bool = False,
        factor: Callable[[str], float] = lambda name: 1.0,
        member_rates: Tensor | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Sets the networks out in memory; `load` gives them their tensors.

        Args:
            config: the architecture.
            masks: where dropout's masks come from.
            ntk: whether a Linear computes x Wᵀ/√n for n features: its weights, and so its steps, are of one size
                however wide it is.
            narrow: whether products are of bfloat16 numbers in training.
            factor: how much faster than the rest a parameter learns, by its name.
            member_rates: (members,) likewise of each member; None for all alike.
            device: where.
            dtype: of all of it.
        """
        self.config = config
        layers = list(config.layers())
        shapes = {f"{layer.name}.{name}": shape for layer in layers for name, shape in layer.parameters.items()}
        self.parameters = Parameters(
            shapes, members=config.members, factor=factor, member_rates=member_rates, device=device, dtype=dtype
        )
        work = Workspace(device, dtype)
        self._inputs = None if config.inputs is None else Inputs(config.inputs, self.parameters, work)
        self._layers: list[Layer] = []
        self._norms: dict[str, BatchNorm] = {}
        self._gains: dict[str, float] = {}
        for layer in layers:
            match layer.kind:
                case "inputs":
                    pass  # `self._inputs` holds all of them
                case "linear":
                    gain = 1 / math.sqrt(layer.in_features) if ntk else 1.0
                    self._gains[f"{layer.name}.weight"] = gain
                    is_first = layer.name == "layers.0" and (self._inputs is None or not _learns(config))
                    make = NarrowLinear if narrow else Linear
                    self._layers.append(make(layer.name, self.parameters, work, gain=gain, is_first=is_first))
                case "batch_norm":
                    norm = BatchNorm(layer.name, self.parameters, work)
                    self._layers.append(norm)
                    self._norms[layer.name] = norm
                case "layer_norm":
                    self._layers.append(LayerNorm(layer.name, self.parameters, work))
                case "dropout":
                    self._layers.append(Dropout(masks, work))
                case "activation":
                    self._layers.append(Activated(layer.name, config.activation, self.parameters, work))
                case _:
                    assert_never(layer.kind)

    def forward(self, batch: Batch, *, training: bool = False) -> Tensor:
        """Logits or values (k, b, out_features), in memory that the next call uses again."""
        x = batch.dense
        if self._inputs is not None:
            x = self._inputs.forward(x, batch.rows, training=training)
        for layer in self._layers:
            x = layer.forward(x, training=training)
        return x

    def learn(self, batch: Batch, loss: Loss) -> Tensor:
        """The loss of each member (k,); its gradient is in `parameters.gradient` then."""
        out = self.forward(batch, training=True)
        value = loss(out, batch.target, batch.weight, gradient=True)
        gradient = out
        for layer in reversed(self._layers):
            gradient = layer.backward(gradient)
        if self._inputs is not None and _learns(self.config):
            self._inputs.backward(gradient)
        self.parameters.finish_gradient()
        return value

    def load(self, tensors: Mapping[str, NDArray[np.floating]]) -> None:
        """Takes over tensors named and shaped as `config.tensor_shapes()` says."""
        for name, array in tensors.items():
            value = torch.from_numpy(np.ascontiguousarray(array))
            if self.config.members == 1:
                value = value[None]  # (members, *shape)
            layer, _, kind = name.rpartition(".")
            if kind.startswith("running_"):
                getattr(self._norms[layer], kind).copy_(value)
            else:
                self.parameters.set(name, value / self._gains.get(name, 1.0))
        self.parameters.refresh()

    def take_over(self, parents: Tensor, member_rates: Tensor) -> Tensor:
        """Each member becomes a copy of one, and learns at a rate of its own; as `Parameters.take_over` says."""
        for tensor in self.running_statistics():
            tensor.copy_(tensor[parents])
        return self.parameters.take_over(parents, member_rates)

    def running_statistics(self) -> list[Tensor]:
        """BatchNorm's, (k, w) each: what is kept and not learned."""
        return [tensor for norm in self._norms.values() for tensor in (norm.running_mean, norm.running_var)]

    def tensors(self, member: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Copies on the CPU, named and shaped as `config.tensor_shapes()` says.

        Args:
            member: the only one that is wanted, and then shaped as those of a network of its own; None for all.
        """
        self.parameters.refresh()
        config = self.config if member is None else replace(self.config, members=1)
        tensors = {}
        for name, shape in config.tensor_shapes().items():
            layer, _, kind = name.rpartition(".")
            if kind.startswith("running_"):
                value = getattr(self._norms[layer], kind)
            else:
                value = self.parameters.values[name] * self._gains.get(name, 1.0)
            if member is not None:
                value = value[member]
            tensors[name] = value.to("cpu", torch.float32).numpy().astype(np.float32, order="C").reshape(shape)
        return tensors


def _learns(config: MLPConfig) -> bool:
    """Whether there is something to learn before the first Linear."""
    return config.inputs is not None and any(parameters for *_, parameters in config.inputs.parts())
