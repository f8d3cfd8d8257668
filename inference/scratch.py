"""Reusable memory on a device for the intermediate values of a forward pass."""

from __future__ import annotations

import torch

_ROW_BYTES = 64


class Scratch:
    """Memory on a device for the intermediate values of plans, in named slots.

    Plans that never run at the same time can share the memory, also plans of several networks. A slot never shrinks. It
    grows by doubling, so the smaller blocks that earlier plans still hold are together no larger than the slot.
    """

    def __init__(self, device: torch.device, *, pinned: bool = False) -> None:
        self._device = device
        self._pinned = pinned
        self._slots: dict[str, torch.Tensor] = {}

    def matrix(
        self, slot: str, rows: int, width: int, *, dtype: torch.dtype = torch.float32, packed: bool = False
    ) -> torch.Tensor:
        """Returns a (rows, width) matrix in a slot's memory, with undefined content.

        Rows start on 64-byte boundaries unless `packed` is True. In a product with few outputs, MKL's rounding of a row
        would otherwise depend on the row's place in the batch.
        """
        per_line = _ROW_BYTES // dtype.itemsize
        stride = width if packed else -(-width // per_line) * per_line
        needed = rows * stride * dtype.itemsize
        memory = self._slots.get(slot)
        if memory is None or memory.numel() < needed:
            size = needed if memory is None else max(needed, 2 * memory.numel())
            memory = torch.zeros(size, dtype=torch.uint8, device=self._device, pin_memory=self._pinned)
            self._slots[slot] = memory
        return memory[:needed].view(dtype).view(rows, stride)[:, :width]

    def clear(self) -> None:
        """Frees the memory; plans that were built before keep theirs."""
        self._slots.clear()
