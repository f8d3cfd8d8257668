"""Steps of training as CUDA graphs: some sixty kernels of a few microseconds each, started by one call.

Without it the processor needs longer to start a small network's kernels than the GPU to run them. What a graph reads
stands where it stood when it was captured: row numbers and amounts are copied there before each run.
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

# Steps of a size that are made before it is captured: kernels are chosen and memory is taken in the first ones.
_WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Amounts:
    """What changes from step to step.

    Attributes:
        rate: the learning rate.
        decay: weight decay.
        regularization: the share of dropout that acts.
    """

    rate: float
    decay: float
    regularization: float


class DeviceSteps:
    """Steps whose amounts are in the device's memory, made one by one."""

    def __init__(self, step: Step, masks: DeviceMasks) -> None:
        self._step = step
        self._masks = masks
        self._amounts = torch.zeros(2 + len(masks.kept), device=masks.kept.device)

    def on_device(self, amounts: Sequence[Amounts]) -> Tensor:
        """An epoch's amounts (steps, 2 + members), in one copy: rate, decay, and each member's share of kept units."""
        table = np.array(
            [[step.rate, step.decay, *self._masks.kept_at(step.regularization)] for step in amounts], dtype=np.float32
        )
        return torch.from_numpy(table).to(self._amounts.device)

    def take(self, order: Tensor, amounts: Tensor) -> Tensor:
        """A step, as `Step` makes it; the loss (members,) is good until the next.

        Args:
            order: (members, b) row numbers.
            amounts: (2 + members,) one line of `on_device`.
        """
        self._amounts.copy_(amounts)
        return self._run(order)

    def forget(self) -> None:
        """To be called when the members' own rates have changed."""

    def _run(self, order: Tensor) -> Tensor:
        self._masks.kept.copy_(self._amounts[2:])
        return self._step(order, rate=self._amounts[0], decay=self._amounts[1])


@dataclass(frozen=True, slots=True)
class _Graph:
    """A captured step, and where it puts the loss of each member, (members,)."""

    graph: torch.cuda.CUDAGraph
    loss: Tensor


class GraphedSteps(DeviceSteps):
    """The same as CUDA graphs, one for each size of batch; one by one where a GPU does not take a graph."""

    def __init__(self, step: Step, masks: DeviceMasks) -> None:
        super().__init__(step, masks)
        self._orders: dict[int, Tensor] = {}  # by size of batch: where a step's row numbers stand
        self._made: Counter[int] = Counter()  # steps that were made one by one
        self._graphs: dict[int, _Graph] = {}
        self._is_refused = False
        # Nothing can be captured on the default one.
        self._stream = torch.cuda.Stream(masks.kept.device)  # type: ignore[no-untyped-call]

    def take(self, order: Tensor, amounts: Tensor) -> Tensor:
        """See `DeviceSteps`."""
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
        """To be called when the members' own rates have changed, since a graph has those that it was captured with."""
        self._graphs.clear()

    def _beside(self, order: Tensor) -> Tensor:
        """Makes a step on the stream that captures: what it chooses and allocates there serves the capture too."""
        caller = torch.cuda.current_stream(self._amounts.device)
        self._stream.wait_stream(caller)
        with torch.cuda.stream(self._stream):
            loss = self._run(order)
        caller.wait_stream(self._stream)
        loss.record_stream(caller)
        return loss

    def _capture(self, size: int, order: Tensor) -> _Graph | None:
        """Captures a step without making it; None where it is too early, or no use."""
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
