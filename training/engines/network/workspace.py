"""Memory for the tensors that a step passes between layers, allocated once and reused in every step."""

from __future__ import annotations

import torch
from torch import Tensor

Shape = tuple[int, ...]


class Buffer:
    """The memory of one result: an uninitialised tensor for each shape.

    Training uses two shapes, those of a batch and of the last batch of an epoch; evaluation uses two more.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self._device = device
        self._dtype = dtype
        self._tensors: dict[Shape, Tensor] = {}

    def of(self, shape: Shape) -> Tensor:
        """Returns the tensor of a shape."""
        tensor = self._tensors.get(shape)
        if tensor is None:
            tensor = torch.empty(shape, device=self._device, dtype=self._dtype)
            self._tensors[shape] = tensor
        return tensor


class Workspace:
    """The source of a network's buffers.

    Attributes:
        device: torch device of the buffers.
        dtype: element type of the buffers.
        first, second: buffers for results that only the next layer reads. Layers that write to one of them read the
            other, so that few of these results are in the processor's cache at a time.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype

        self.first, self.second = self.buffer(), self.buffer()

    def buffer(self) -> Buffer:
        """Returns a new buffer."""
        return Buffer(self.device, self.dtype)
