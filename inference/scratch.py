"""Memory on a device for what a pass over rows hands from call to call."""

from __future__ import annotations

import torch

_ROW_BYTES = 64


class Scratch:
    """A device's memory for what a plan passes from call to call, by slot.

    Plans of all networks share it where one runs at a time. A slot grows and never shrinks: by doubling, so that what
    earlier plans still hold of a smaller one is at most as much again.
    """

    def __init__(self, device: torch.device, *, pinned: bool = False) -> None:
        self._device = device
        self._pinned = pinned
        self._slots: dict[str, torch.Tensor] = {}

    def matrix(
        self, slot: str, rows: int, width: int, *, dtype: torch.dtype = torch.float32, packed: bool = False
    ) -> torch.Tensor:
        """A (rows, width) matrix over a slot's memory, with whatever was in it.

        Its rows start on 64-byte boundaries unless `packed`: where a narrow product's input is not so aligned, MKL
        rounds a row by its place in the batch.
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
        """Lets go of all of it; plans made before keep theirs."""
        self._slots.clear()
