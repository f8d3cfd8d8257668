"""Memory for what one step passes from layer to layer, taken once and used again at every step."""

from __future__ import annotations

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Buffer:
    """One result's memory: a tensor of each shape that is asked for, with whatever was in it.

    Training asks for two shapes, a batch and the last batch of an epoch; evaluation for two more.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype
        self._tensors: dict[Shape, Tensor] = {}

    def of(self, shape: Shape) -> Tensor:
        """The tensor of that shape."""
        tensor = self._tensors.get(shape)
        if tensor is None:
            tensor = torch.empty(shape, device=self._device, dtype=self._dtype)
            self._tensors[shape] = tensor
        return tensor


class Workspace:
    """Where the buffers of a network are.

    Attributes:
        device: where.
        dtype: of all of them.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype

    def buffer(self) -> Buffer:
        """A new one."""
        return Buffer(self.device, self.dtype)
