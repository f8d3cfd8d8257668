"""Training steps as CUDA graphs: one call launches about sixty kernels of a few microseconds each.

Without a graph, the CPU needs more time to launch the kernels of a small network than the GPU needs to run them. A
graph reads the memory addresses that it was captured with: row numbers and amounts are copied there before each run.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.engines.network.device_masks import DeviceMasks
from training.engines.step import Step

# Steps of a batch size before its capture: the first steps choose kernels and allocate memory.
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Amounts:
    """The hyperparameters that change from step to step.

    Attributes:
        rate: learning rate.
        decay: weight decay.
        regularization: factor on the dropout probabilities, from 0 to 1.
    """

    rate: float
    decay: float
    regularization: float


class DeviceSteps:
    """Training steps that read their amounts from the memory of the device, launched kernel by kernel."""

    def __init__(self, step: Step, masks: DeviceMasks) -> None:
        self._step = step
        self._masks = masks
        self._amounts = torch.zeros(2 + len(masks.kept), device=masks.kept.device)

    def on_device(self, amounts: Sequence[Amounts]) -> Tensor:
        """Copies the amounts of an epoch to the device.

        Returns:
            (steps, 2 + members): learning rate, weight decay, and each member's share of kept units.
        """
        table = np.array(
            [[step.rate, step.decay, *self._masks.kept_at(step.regularization)] for step in amounts], dtype=np.float32
        )
        return torch.from_numpy(table).to(self._amounts.device)

    def take(self, order: Tensor, amounts: Tensor) -> Tensor:
        """Runs one step, as `Step` does.

        Args:
            order: (members, b) row numbers.
            amounts: (2 + members,) one row of the tensor that `on_device` returns.

        Returns:
            (members,) loss of each member. The next step overwrites it.
        """
        self._amounts.copy_(amounts)
        return self._run(order)

    def forget(self) -> None:
        """Discards everything that depends on the members' learning rates; to be called after a change of the rates."""

    def _run(self, order: Tensor) -> Tensor:
        self._masks.kept.copy_(self._amounts[2:])
        return self._step(order, rate=self._amounts[0], decay=self._amounts[1])


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured step, and the tensor (members,) to which the step writes the losses."""

    graph: torch.cuda.CUDAGraph
    loss: Tensor


class GraphedSteps(DeviceSteps):
    """Training steps as CUDA graphs, one graph for each batch size; without graphs if the GPU refuses the capture."""

    def __init__(self, step: Step, masks: DeviceMasks) -> None:
        super().__init__(step, masks)
        self._orders: dict[int, Tensor] = {}  # memory with a step's row numbers, by batch size
        self._made: Counter[int] = Counter()  # steps without a graph, by batch size
        self._graphs: dict[int, _Graph] = {}
        self._is_refused = False
        # CUDA cannot capture on the default stream.
        self._stream = torch.cuda.Stream(masks.kept.device)  # type: ignore[no-untyped-call]

    def take(self, order: Tensor, amounts: Tensor) -> Tensor:
        """Runs one step, as in `DeviceSteps`."""
        self._amounts.copy_(amounts)
        size = order.shape[1]
        here = self._orders.get(size)
        if here is None:
            here = self._orders[size] = torch.empty_like(order, memory_format=torch.contiguous_format)
        here.copy_(order)
        captured = self._graphs.get(size) or self._capture(size, here)
        if captured is None:
            self._made[size] += 1
            return self._beside(here)
        captured.graph.replay()
        return captured.loss

    def forget(self) -> None:
        """Discards the graphs, since each contains the learning rates of its capture."""
        self._graphs.clear()

    def _beside(self, order: Tensor) -> Tensor:
        """Runs a step on the capturing stream, so that the capture reuses the chosen kernels and allocated memory."""
        caller = torch.cuda.current_stream(self._amounts.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            loss = self._run(order)
        caller.wait_stream(self._stream)
        loss.record_stream(caller)
        return loss

    def _capture(self, size: int, order: Tensor) -> _Graph | None:
        """Captures a step but does not run one; returns None during the warm-up, or after the GPU refused a capture."""
        if self._made[size] < _WARM_UP or self._is_refused:
            return None
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._masks.generator)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                loss = self._run(order)
        except RuntimeError as error:
            self._is_refused = True
            warnings.warn(f"training goes on without CUDA graphs, which is slower: {error}", stacklevel=2)
            return None
        captured = self._graphs[size] = _Graph(graph, loss)
        return captured
