"""Memory for what one step passes from layer to layer, taken once and used again at every step."""

from __future__ import annotations

import torch
from torch import Tensor


class Workspace:
    """Tensors by name and shape, with whatever was in them.

    Training asks for two shapes of each, a batch and the last batch of an epoch; evaluation for two more.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
        self._tensors: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def take(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The tensor of that name and shape."""
        tensor = self._tensors.get((name, shape))
        if tensor is None:
            tensor = torch.empty(shape, device=self.device, dtype=self.dtype)
            self._tensors[name, shape] = tensor
        return tensor
