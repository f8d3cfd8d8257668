"""A forward plan: one pass over a fixed number of rows, as calls that write into memory that is already there.

What can be decided once is: every tensor, view and argument is bound when the plan is made, so that running it is
no more than its calls. The same list runs on a CPU and is captured into a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn import functional

from models.config import LEAKY_RELU_SLOPE, Activation

_ROW_BYTES = 64

Step = Callable[[], object]

ACTIVATIONS: dict[Activation, Callable[[torch.Tensor], object]] = {
    "relu": torch.relu_,
    "leaky_relu": partial(functional.leaky_relu_, negative_slope=LEAKY_RELU_SLOPE),
    "gelu": torch.ops.aten.gelu_.default,
    "silu": partial(functional.silu, inplace=True),
    "tanh": torch.tanh_,
    "sigmoid": torch.sigmoid_,
    "identity": lambda x: x,
}


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """Put rows into `x`, run, take answers from `y`.

    Attributes:
        x: (rows, in_features) float32; its rows may be further apart than they are wide.
        y: (rows, out_features) float32, contiguous.
        steps: the calls.
    """

    x: torch.Tensor
    y: torch.Tensor
    steps: tuple[Step, ...]

    def run(self) -> None:
        """Computes `y` from `x`, or queues that on a device's current stream."""
        for step in self.steps:
            step()


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


class PlanBuilder:
    """Gathers a plan's calls; `value` is the matrix that the last of them wrote."""

    def __init__(self, scratch: Scratch, rows: int, in_features: int) -> None:
        self._scratch = scratch
        self._rows = rows
        self._slot = "ping"
        self.x = self.value = scratch.matrix("input", rows, in_features)
        self.steps: list[Step] = []

    def call(self, step: Step) -> None:
        """Anything that touches no matrix."""
        self.steps.append(step)

    def product(self, weight: torch.Tensor, bias: torch.Tensor, *, packed: bool) -> None:
        """`value Wᵀ + b`; weight: (out, in), bias: (out,), of one type, to which the value is rounded first."""
        self.cast(weight.dtype)
        source = self.value
        self._turn(weight.shape[0], weight.dtype, packed=packed)
        self.steps.append(partial(torch.addmm, bias, source, weight.t(), out=self.value))

    def activate(self, name: Activation) -> None:
        """An elementwise nonlinearity, in place."""
        self.steps.append(partial(ACTIVATIONS[name], self.value))

    def layer_norm(self, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        """Each row standardised, in place; weight and bias: (width,)."""
        self.steps.append(
            partial(_layer_norm_, self.value, weight.to(self.value.dtype), bias.to(self.value.dtype), eps)
        )

    def cast(self, dtype: torch.dtype) -> None:
        """The value in another type."""
        if dtype != self.value.dtype:
            source = self.value
            self._turn(source.shape[1], dtype, packed=source.is_contiguous())
            self.steps.append(partial(self.value.copy_, source))

    def finish(self, output: str) -> ForwardPlan:
        """The plan, with what the output asks for after the last stage: `softmax`, `linear` (nothing) or `step`."""
        self.cast(torch.float32)
        z, y = self.value, self.value
        if output == "softmax":
            y = self._scratch.matrix("output", self._rows, z.shape[1], packed=True)
            self.steps.append(partial(torch.softmax, z, -1, out=y))
        elif output == "step":
            y = self._scratch.matrix("output", self._rows, 2, packed=True)
            self.steps.append(partial(torch.lt, z, 0, out=y[:, :1]))
            self.steps.append(partial(torch.ge, z, 0, out=y[:, 1:]))
        return ForwardPlan(self.x, y, tuple(self.steps))

    def _turn(self, width: int, dtype: torch.dtype, *, packed: bool) -> None:
        self.value = self._scratch.matrix(self._slot, self._rows, width, dtype=dtype, packed=packed)
        self._slot = "pong" if self._slot == "ping" else "ping"


def _layer_norm_(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
    x.copy_(functional.layer_norm(x, weight.shape, weight, bias, eps))
