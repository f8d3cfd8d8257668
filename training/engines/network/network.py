"""Several networks of one architecture, trained at once: forward, loss, backward, and tensors in and out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import LayerSpec, MLPConfig
from training.engines.network.inputs import Inputs
from training.engines.network.layers import Activated, BatchNorm, BFloat16Linear, Dropout, Layer, LayerNorm, Linear
from training.engines.network.losses import Loss
from training.engines.network.masks import Masks
from training.engines.network.parameters import Parameters
from training.engines.network.workspace import Workspace

_EMBEDDING = "inputs.embedding.weight"


@dataclass(frozen=True, slots=True)
class MemberBatch:
    """A batch of rows for each of k members, in the form that a network reads.

    Attributes:
        dense: (k, b, numbers + flags) features, or (k, b, in_features) for a network without input stage.
        rows: (k, b, indices) row numbers in the embedding table; None without embeddings.
        target: (k, b) class indices or values; (1, b) if all members have the same; (…, b, w) for several values.
        weight: (k, b) or (1, b) weights of the rows; None for equal weights.
        statistics: (k, b, indices, t) target statistics that the rows see in training; None for those of the table.
    """

    dense: Tensor
    rows: Tensor | None
    target: Tensor
    weight: Tensor | None
    statistics: Tensor | None = None


class Network:
    """Several networks of one architecture.

    Attributes:
        parameters: parameters of all members.
        config: architecture, with the number of networks as `members`.
        layers: layers after the input stage, each with its specification.
        norms: BatchNorm layers, by name.
        scales: factor of each Linear layer on its product, by the name of its weight.
    """

    def __init__(
        self,
        config: MLPConfig,
        *,
        masks: Masks,
        ntk: bool = False,
        bf16: bool = False,
        factor: Callable[[str], float] = lambda name: 1.0,
        member_rates: Tensor | None = None,
        statistics: NDArray[np.float32] | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Allocates the memory of the networks; `load` sets the parameters.

        Args:
            config: architecture of the networks.
            masks: source of the dropout masks.
            ntk: True for Linear layers that compute x Wᵀ/√n for n features, so that weights and steps have the same
                size at every width.
            bf16: True for bfloat16 matrix products in training.
            factor: function from the name of a parameter to the factor on its learning rate.
            member_rates: (members,) factor on the learning rate of each member; None for no factors.
            statistics: `(members, table_rows, s)` last columns of the embedding tables, which are not learned; None if
                all columns are learned.
            device: torch device of the networks.
            dtype: element type of all tensors.
        """
        self.config = config
        specs = list(config.layers())
        shapes = {f"{spec.name}.{name}": shape for spec in specs for name, shape in spec.parameters.items()}
        self._statistics = None if statistics is None else torch.from_numpy(statistics).to(device, dtype)
        if self._statistics is not None:
            table_rows, size = shapes[_EMBEDDING]
            shapes[_EMBEDDING] = (table_rows, size - self._statistics.shape[2])
        self.parameters = Parameters(
            shapes, members=config.members, factor=factor, member_rates=member_rates, device=device, dtype=dtype
        )
        work = Workspace(device, dtype)
        self._inputs: Inputs | None = None
        if config.inputs is not None:
            self._inputs = Inputs(config.inputs, self.parameters, work, statistics=self._statistics)
        self.norms: dict[str, BatchNorm] = {}
        self.scales: dict[str, float] = {}
        self.layers: list[tuple[LayerSpec, Layer]] = []
        for spec in specs:
            layer: Layer
            match spec.kind:
                case "inputs":
                    continue  # `self._inputs` holds all of them
                case "linear":
                    scale = self.scales[f"{spec.name}.weight"] = 1 / math.sqrt(spec.in_features) if ntk else 1.0
                    is_first = spec.name == "layers.0" and (self._inputs is None or not _learns(config))
                    make = BFloat16Linear if bf16 else Linear
                    layer = make(spec.name, self.parameters, work, scale=scale, is_first=is_first)
                case "batch_norm":
                    layer = self.norms[spec.name] = BatchNorm(spec.name, self.parameters, work)
                case "layer_norm":
                    layer = LayerNorm(spec.name, self.parameters, work)
                case "dropout":
                    layer = Dropout(masks, work, is_in_place=config.learned_activation)  # then f(z) is elsewhere
                case "activation":
                    layer = Activated(spec.name, config.activation, self.parameters, work)
                case _:
                    assert_never(spec.kind)
            self.layers.append((spec, layer))

    def forward(self, batch: MemberBatch, *, training: bool = False) -> Tensor:
        """Computes logits or values, (k, b, out_features), in memory that the next call overwrites."""
        x = batch.dense
        if self._inputs is not None:
            x = self._inputs.forward(x, batch.rows, training=training, statistics=batch.statistics)
        for _, layer in self.layers:
            x = layer.forward(x, training=training)
        return x

    def learn(self, batch: MemberBatch, loss: Loss) -> Tensor:
        """Computes the loss of each member, (k,), and writes the gradient into `parameters.gradient`."""
        out = self.forward(batch, training=True)
        value = loss(out, batch.target, batch.weight, gradient=True)
        gradient = out
        for _, layer in reversed(self.layers):
            gradient = layer.backward(gradient)
        if self._inputs is not None and _learns(self.config):
            self._inputs.backward(gradient)
        self.parameters.finish_gradient()
        return value

    def load(self, tensors: Mapping[str, NDArray[np.floating]]) -> None:
        """Sets all parameters from tensors with the names and shapes of `config.tensor_shapes()`."""
        for name, array in tensors.items():
            value = torch.from_numpy(np.ascontiguousarray(array))
            if self.config.members == 1:
                value = value[None]  # (members, *shape)
            layer, _, kind = name.rpartition(".")
            if kind.startswith("running_"):
                getattr(self.norms[layer], kind).copy_(value)
            else:
                if name == _EMBEDDING and self._statistics is not None:
                    value = value[..., : -self._statistics.shape[2]]
                self.parameters.set(name, value / self.scales.get(name, 1.0))
        self.parameters.refresh()

    def exploit(self, parents: Tensor, member_rates: Tensor) -> Tensor:
        """Copies a parent into each member and sets the members' learning rates, as in `Parameters.exploit`."""
        for tensor in self.running_statistics():
            tensor.copy_(tensor[parents])
        return self.parameters.exploit(parents, member_rates)

    def running_statistics(self) -> list[Tensor]:
        """Returns the running mean and variance of each BatchNorm layer, `(k, w)` each, which are measured."""
        return [tensor for norm in self.norms.values() for tensor in (norm.running_mean, norm.running_var)]

    def tensors(self, member: int | None = None) -> dict[str, NDArray[np.float32]]:
        """Copies the tensors to the CPU, with the names and shapes of `config.tensor_shapes()`.

        Args:
            member: index of one member, whose tensors get the shapes of a single network; None for all members.
        """
        self.parameters.refresh()
        config = self.config if member is None else replace(self.config, members=1)
        tensors = {}
        for name, shape in config.tensor_shapes().items():
            layer, _, kind = name.rpartition(".")
            if kind.startswith("running_"):
                value = getattr(self.norms[layer], kind)
            else:
                value = self.parameters.values[name] * self.scales.get(name, 1.0)
                if name == _EMBEDDING and self._statistics is not None:
                    value = torch.cat([value, self._statistics], dim=2)
            if member is not None:
                value = value[member]
            tensors[name] = value.to("cpu", torch.float32).numpy().astype(np.float32, order="C").reshape(shape)
        return tensors


def _learns(config: MLPConfig) -> bool:
    """Returns True if the input stage has parameters."""
    return config.inputs is not None and any(parameters for *_, parameters in config.inputs.parts())
