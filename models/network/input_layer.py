"""The PyTorch module of a network's inputs, built from an `InputConfig`: clip, embed, look up, scale."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from models.network.inputs import FAR, InputConfig

FREQUENCY_STD = 0.1  # RealMLP's σ of the initial frequencies


class PeriodicEmbedding(nn.Module):
    """Embeds each number x as W·cos(2π·f·x + φ) + b, with learned frequencies f, phases φ, W and b per number."""

    def __init__(self, numbers: int, frequencies: int, size: int, *, generator: torch.Generator | None) -> None:
        super().__init__()
        self.frequency = nn.Parameter(FREQUENCY_STD * torch.randn(numbers, frequencies, generator=generator))
        self.phase = nn.Parameter(math.pi * _uniform(numbers, frequencies, generator=generator))
        bound = 1 / math.sqrt(frequencies)
        self.weight = nn.Parameter(bound * _uniform(numbers, size, frequencies, generator=generator))
        self.bias = nn.Parameter(bound * _uniform(numbers, size, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (rows, numbers) to (rows, numbers·size)."""
        waves = torch.cos(2 * math.pi * x[..., None] * self.frequency + self.phase)  # (rows, numbers, frequencies)
        return (torch.einsum("rnf,nsf->rns", waves, self.weight) + self.bias).flatten(1)


class Scale(nn.Module):
    """A learned factor for each feature, initially 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """Maps (rows, width) to (rows, width)."""
        return x * self.weight


class InputLayer(nn.Module):
    """The input stage of a network: encoded rows in, the input of the first Linear out.

    Attributes:
        config: description of the input stage.
        periodic: periodic embedding of the numbers, or None.
        embedding: embedding table of the indices, `(table_rows, embedding_size)`, or None.
        scale: learned factor for each feature, or None.
    """

    def __init__(self, config: InputConfig, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.periodic: PeriodicEmbedding | None = None
        self.embedding: nn.Embedding | None = None
        self.scale: Scale | None = None
        if config.frequencies and config.numbers:
            self.periodic = PeriodicEmbedding(
                len(config.numbers), config.frequencies, config.periodic_size, generator=generator
            )
        self._offsets = torch.tensor(config.table_offsets(), dtype=torch.int64)
        if config.indices:
            table = torch.randn(config.table_rows, config.embedding_size, generator=generator)
            table[self._offsets] = 0
            self.embedding = nn.Embedding(config.table_rows, config.embedding_size, _weight=table)
        if config.scale:
            self.scale = Scale(config.width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (rows, row_width) to (rows, width)."""
        config = self.config
        numbers = smooth_clip(x[:, list(config.numbers)], config.clip)
        parts = [numbers]
        if self.periodic is not None:
            parts.append(self.periodic(numbers))
        parts.append(x[:, list(config.flags)])
        if self.embedding is not None:
            rows = x[:, list(config.indices)].long() + self._offsets.to(x.device)
            parts.append(self.embedding(rows).flatten(1))
        out = torch.cat(parts, dim=1)
        return out if self.scale is None else self.scale(out)


def smooth_clip(x: Tensor, bound: float | None) -> Tensor:
    """Returns x/√(1 + (x/bound)²), which is near x around 0 and near ±bound far from 0; x if there is no bound."""
    x = x.clamp(-FAR, FAR)
    return x if bound is None else x * torch.rsqrt(1 + torch.square(x / bound))


def _uniform(*shape: int, generator: torch.Generator | None) -> Tensor:
    """Draws uniformly from [-1, 1)."""
    return 2 * torch.rand(*shape, generator=generator) - 1
