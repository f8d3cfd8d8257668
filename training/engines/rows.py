"""The rows of a run on the device, divided into the parts that the input stage of a network reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.network.config import MLPConfig
from models.network.input_layer import smooth_clip
from training.engines.network.network import MemberBatch


class DeviceRows:
    """All rows of the training or validation part.

    The standardised numbers are clipped here, once for all epochs.
    """

    def __init__(
        self,
        config: MLPConfig,
        x: NDArray[np.float32],
        y: NDArray[np.generic],
        weight: NDArray[np.float64] | None,
        *,
        taught: NDArray[np.float32] | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Copies the rows to the device.

        Args:
            config: architecture of the networks.
            x: `(rows, in_features)` standardised features.
            y: `(rows,)` class indices or values.
            weight: `(rows,)` weights of the rows, scaled here to a mean of 1; None for 1 each.
            taught: `(rows, out_features)` answers of a teacher, which are the targets in place of `y`; None for `y`.
            device: torch device of the rows.
            dtype: element type of all tensors but the indices.
        """
        inputs = config.inputs
        self._rows: Tensor | None = None  # (rows, indices) places in the embedding table
        if inputs is None:
            dense = torch.from_numpy(np.ascontiguousarray(x))
        else:
            numbers = smooth_clip(torch.from_numpy(x[:, inputs.numbers]), inputs.clip)
            dense = torch.cat([numbers, torch.from_numpy(x[:, inputs.flags])], dim=1)
            if inputs.indices:
                places = torch.from_numpy(x[:, inputs.indices]).long() + torch.tensor(inputs.table_offsets())
                self._rows = places.to(device)
        self._dense = dense.to(device, dtype)  # (rows, numbers + flags)
        targets = y if taught is None else taught[:, 0] if config.task == "regression" else taught
        target = torch.from_numpy(np.ascontiguousarray(targets))
        has_indices = config.task == "classification" and taught is None
        self._target = (target.long() if has_indices else target.to(dtype)).to(device)
        self._weight = None
        if weight is not None:
            self._weight = torch.from_numpy(weight / weight.mean()).to(device, dtype)

    def __len__(self) -> int:
        return len(self._target)

    def batch(self, order: Tensor) -> MemberBatch:
        """Returns some rows for each member.

        Args:
            order: (members, b) row numbers.
        """
        k, b = order.shape
        flat = order.flatten()
        return MemberBatch(
            dense=self._dense.index_select(0, flat).view(k, b, -1),
            rows=None if self._rows is None else self._rows.index_select(0, flat).view(k, b, -1),
            target=self._target.index_select(0, flat).view(k, b, *self._target.shape[1:]),
            weight=None if self._weight is None else self._weight.index_select(0, flat).view(k, b),
        )

    def arrays(self) -> list[NDArray[Any]]:
        """Returns features, targets and weights, if any, of rows on a CPU, without a copy."""
        tensors = [self._dense, self._target, *([] if self._weight is None else [self._weight])]
        return [tensor.numpy() for tensor in tensors]

    def parts(self, size: int, members: int) -> Iterator[MemberBatch]:
        """Yields all rows in order, `size` at a time, the same rows for each member."""
        for begin in range(0, len(self), size):
            rows = slice(begin, min(begin + size, len(self)))
            yield MemberBatch(
                dense=self._dense[rows].expand(members, -1, -1),
                rows=None if self._rows is None else self._rows[rows].expand(members, -1, -1),
                target=self._target[None, rows],
                weight=None if self._weight is None else self._weight[None, rows],
            )
