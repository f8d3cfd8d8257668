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
from models.network.inputs import InputConfig
from training.data.scratch import large_array, release_pages
from training.engines.network.network import MemberBatch

_BLOCK_ROWS = 65_536  # rows clipped at a time, so that the copies of a large table's rows stay small


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
        statistics: NDArray[np.float32] | None = None,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Copies the rows to the device.

        Args:
            config: architecture of the networks.
            x: `(rows, in_features)` standardised features.
            y: `(rows,)` class indices or values, or `(rows, out_features)` values of several targets.
            weight: `(rows,)` weights of the rows, scaled here to a mean of 1; None for 1 each.
            taught: `(rows, out_features)` answers of a teacher, which are the targets in place of `y`; None for `y`.
            statistics: `(folds, rows, indices, t)` target statistics that the rows see in training, where member m
                sees those of fold m modulo the folds; None if rows see the table.
            device: torch device of the rows.
            dtype: element type of all tensors but the indices.
        """
        inputs = config.inputs
        self._rows: Tensor | None = None  # (rows, indices) places in the embedding table
        if inputs is None:
            dense = torch.from_numpy(np.ascontiguousarray(x))
        else:
            dense = torch.from_numpy(_clipped(inputs, x))
            if inputs.indices:
                self._rows = torch.from_numpy(_table_places(inputs, x)).to(device)
        self._dense = dense.to(device, dtype)  # (rows, numbers + flags)
        has_one_value = config.task == "regression" and config.out_features == 1
        targets = y if taught is None else taught[:, 0] if has_one_value else taught
        target = torch.from_numpy(np.ascontiguousarray(targets))
        has_indices = config.task == "classification" and taught is None
        self._target = (target.long() if has_indices else target.to(dtype)).to(device)
        self._statistics: Tensor | None = None  # (folds, rows, indices, t)
        if statistics is not None:
            self._statistics = torch.from_numpy(statistics).to(device, dtype)
        self._weight = None
        if weight is not None:
            self._weight = torch.from_numpy(weight / weight.mean()).to(device, dtype)
        release_pages()

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
            statistics=None if self._statistics is None else self._statistics_of(order),
        )

    def _statistics_of(self, order: Tensor) -> Tensor:
        """Returns the statistics, (members, b, indices, t), of the rows whose numbers are in `order`, (members, b)."""
        assert self._statistics is not None  # noqa: S101
        folds, rows, *shape = self._statistics.shape
        of_members = torch.arange(len(order), device=order.device) % folds  # (members,)
        flat = (order + rows * of_members[:, None]).flatten()
        return self._statistics.flatten(0, 1).index_select(0, flat).view(*order.shape, *shape)

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


def _clipped(inputs: InputConfig, x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns the clipped numbers and the flags of all rows, `(rows, numbers + flags)`."""
    numbers = len(inputs.numbers)
    dense = large_array((len(x), numbers + len(inputs.flags)), np.float32)
    for at in range(0, len(x), _BLOCK_ROWS):
        block = x[at : at + _BLOCK_ROWS]
        dense[at : at + _BLOCK_ROWS, :numbers] = smooth_clip(torch.from_numpy(block[:, inputs.numbers]), inputs.clip)
        dense[at : at + _BLOCK_ROWS, numbers:] = block[:, inputs.flags]
        release_pages()
    return dense


def _table_places(inputs: InputConfig, x: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the places of all rows' categories in the embedding table, `(rows, indices)`."""
    places = large_array((len(x), len(inputs.indices)), np.int64)
    for at in range(0, len(x), _BLOCK_ROWS):
        places[at : at + _BLOCK_ROWS] = x[at : at + _BLOCK_ROWS, inputs.indices]
    places += np.array(inputs.table_offsets())
    return places
