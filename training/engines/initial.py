"""The tensors that training begins with: drawn as the config says, and for `data` fitted to a sample of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.config import MLPConfig
from models.network.mlp import MLP

_SAMPLE_ROWS = 4096  # enough to tell a spread and a mean by
_BIAS_ROWS = 5  # RealMLP's he+5


def initial_tensors(
    config: MLPConfig, *, sample: NDArray[np.float32] | None, generator: torch.Generator
) -> Mapping[str, NDArray[np.float32]]:
    """Tensors of every member, named and shaped as `config.tensor_shapes()` says.

    Args:
        config: the architecture.
        sample: `(rows, in_features)` of the training part, standardised, to fit the tensors to; None to draw them as
            `config.initialization` says.
        generator: the source of all of it.
    """
    single = replace(config, members=1)
    of_members = []
    for _ in range(config.members):
        module = MLP(single, generator=generator)
        if sample is not None:
            _fit_to(module, torch.from_numpy(sample[:_SAMPLE_ROWS]), generator)
        of_members.append(module.to_tensors())
    if config.members == 1:
        return of_members[0]
    return {name: np.stack([tensors[name] for tensors in of_members]) for name in of_members[0]}


@torch.no_grad()
def _fit_to(module: MLP, x: Tensor, generator: torch.Generator) -> None:
    """Weights such that each unit has a spread of 1 before its bias, and biases at minus a random mean of five rows.

    So every unit's kink or bend lies among the data (Holzmüller et al. 2024, Better by default, after Steinwart 2019).
    A unit without spread, as over constant columns, keeps its weights.
    """
    module.eval()  # BatchNorm is the identity then: the units have their spread already
    if module.inputs is not None:
        x = module.inputs(x)
    norms, activations = iter(module.norms), iter(module.activations)
    for layer in module.layers:
        assert isinstance(layer, nn.Linear)  # noqa: S101 -- what a ModuleList does not tell
        weight = torch.randn(layer.weight.shape, generator=generator)  # (out, in)
        z = x @ weight.t()  # (rows, out)
        spread = z.std(dim=0, correction=0)
        spread[spread < 1e-6] = 1
        layer.weight.copy_(weight / spread[:, None])
        z = z / spread
        if layer.bias is not None:
            rows = torch.randint(0, len(x), (len(spread), _BIAS_ROWS), generator=generator)  # (out, 5)
            shares = torch.empty(rows.shape).exponential_(generator=generator)
            shares /= shares.sum(dim=1, keepdim=True)
            layer.bias.copy_(-(z.t().gather(1, rows) * shares).sum(dim=1))
            z = z + layer.bias
        x = z
        if (norm := next(norms, None)) is not None:
            x = norm(x)
        if (activation := next(activations, None)) is not None:
            x = activation(x)
