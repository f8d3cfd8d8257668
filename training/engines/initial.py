"""Initial weights: drawn at random, and for the initialisation `data` fitted to a sample of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.network.config import MLPConfig
from models.network.mlp import MLP

_SAMPLE_ROWS = 4096  # enough to estimate a standard deviation and a mean
_BIAS_ROWS = 5  # RealMLP's he+5


def initial_tensors(
    config: MLPConfig,
    *,
    sample: NDArray[np.float32] | None,
    statistics: NDArray[np.float32] | None = None,
    generator: torch.Generator,
) -> Mapping[str, NDArray[np.float32]]:
    """Returns the initial tensors of all members, with the names and shapes of `config.tensor_shapes()`.

    Args:
        config: architecture of the networks.
        sample: `(rows, in_features)` standardised rows of the training part to fit the weights to; None to draw the
            weights by `config.initialization`.
        statistics: `(members, table_rows, s)` last columns of the embedding tables; None to draw all columns.
        generator: source of the random numbers.
    """
    single = replace(config, members=1)
    of_members = []
    for member in range(config.members):
        module = MLP(single, generator=generator)
        if statistics is not None:
            _set_statistics(module, statistics[member])
        if sample is not None:
            _fit_to(module, torch.from_numpy(sample[:_SAMPLE_ROWS]), generator)
        of_members.append(module.to_tensors())
    if config.members == 1:
        return of_members[0]
    return {name: np.stack([tensors[name] for tensors in of_members]) for name in of_members[0]}


@torch.no_grad()
def _set_statistics(module: MLP, statistics: NDArray[np.float32]) -> None:
    """Sets the last columns of the embedding table, `(table_rows, s)`."""
    embedding = None if module.inputs is None else module.inputs.embedding
    assert embedding is not None  # noqa: S101 -- statistics are of embedded categories
    embedding.weight[:, -statistics.shape[1] :] = torch.from_numpy(statistics)


@torch.no_grad()
def _fit_to(module: MLP, x: Tensor, generator: torch.Generator) -> None:
    """Scales weights to pre-activations of unit variance, and sets biases to minus a random mean of five rows.

    With these biases, the kink of each unit's activation lies among the data (Holzmüller et al. 2024, Better by
    default, after Steinwart 2019). A unit without variance, as over constant columns, keeps its weights.
    """
    module.eval()  # BatchNorm is then the identity; the pre-activations have unit variance already
    if module.inputs is not None:
        x = module.inputs(x)
    norms, activations = iter(module.norms), iter(module.activations)
    for layer in module.layers:
        assert isinstance(layer, nn.Linear)  # noqa: S101 -- a ModuleList has no element type
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
