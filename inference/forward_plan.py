"""A forward plan: one pass over a fixed number of rows, as a list of calls that write into preallocated memory.

Each tensor, view and argument is bound when the plan is built, so that a run only makes the calls. The same list runs
on a CPU and is captured as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from inference.activations import InPlace
from inference.input_steps import InputTensors, add_input_stage
from inference.scratch import Scratch
from models.network.config import NetworkOutput
from models.network.input_stage import InputStage

Float32Array = NDArray[np.float32]
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class ForwardPlan:
    """A pass over the rows in `x`, with the answers in `y`.

    Attributes:
        x: (rows, in_features) float32; there may be padding between the rows.
        y: (rows, out_features) float32, contiguous.
        steps: calls of the pass, in order.
    """

    x: torch.Tensor
    y: torch.Tensor
    steps: tuple[Step, ...]

    def run(self) -> None:
        """Computes `y` from `x`, or queues the computation on a device's current stream."""
        for step in self.steps:
            step()


class PlanBuilder:
    """Builds a forward plan call by call.

    Args:
        scratch: memory for the matrices of the pass.
        rows: number of rows of the pass.
        in_features: width of the input.
        members: number of networks in the ensemble.
        weights: weight of each member in the mean; None for equal weights.

    Attributes:
        x: (rows, in_features) input of the pass.
        value: matrix that the latest call writes.
        steps: calls so far.
    """

    def __init__(
        self,
        scratch: Scratch,
        rows: int,
        in_features: int,
        *,
        members: int = 1,
        weights: tuple[int, ...] | None = None,
    ) -> None:
        self._scratch = scratch
        self._rows = rows
        self._slot = "ping"
        self.x = self.value = scratch.matrix("input", rows, in_features)
        self.steps: list[Step] = []
        self._members = members
        self._weights = weights
        self._answered = 0

    def call(self, step: Step) -> None:
        """Adds a call that does not change any matrix."""
        self.steps.append(step)

    def product(self, weight: torch.Tensor, bias: torch.Tensor, *, packed: bool) -> None:
        """Adds `value Wᵀ + b`; weight (out, in) and bias (out,) have one dtype, to which the value is cast first."""
        self.cast(weight.dtype)
        source = self.value
        self._turn(weight.shape[0], weight.dtype, packed=packed)
        self.steps.append(partial(torch.addmm, bias, source, weight.t(), out=self.value))

    def restart(self) -> None:
        """Goes back to the input, for the next member of an ensemble."""
        self.value = self.x

    def input_stage(self, stage: InputStage, tensors: InputTensors) -> None:
        """Adds the input stage: standardise, clip, embed, look up."""
        self.value = add_input_stage(self.steps, self._scratch, self._rows, self.x, stage, tensors)

    def activate(self, function: InPlace, mix: torch.Tensor | None = None) -> None:
        """Adds an elementwise nonlinearity f, in place; with a mix a, (width,), computes x + a·(f(x) - x)."""
        if mix is None:
            self.steps.append(partial(function, self.value))
            return
        z = self.value
        activated = self._scratch.matrix("activated", self._rows, z.shape[1], dtype=z.dtype)
        self.steps.append(partial(activated.copy_, z))
        self.steps.append(partial(function, activated))
        self.steps.append(partial(torch.lerp, z, activated, mix.to(z.dtype), out=z))

    def layer_norm(self, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
        """Adds a layer normalisation, in place; weight and bias: (width,)."""
        self.steps.append(
            partial(_layer_norm_, self.value, weight.to(self.value.dtype), bias.to(self.value.dtype), eps)
        )

    def cast(self, dtype: torch.dtype) -> None:
        """Adds a cast of the value, unless the value already has the dtype."""
        if dtype != self.value.dtype:
            source = self.value
            self._turn(source.shape[1], dtype, packed=source.is_contiguous())
            self.steps.append(partial(self.value.copy_, source))

    def answer(self, output: NetworkOutput) -> None:
        """Adds a member's output function, and the weighted sum over the members."""
        self.cast(torch.float32)
        z, y = self.value, self.value
        if output == "softmax":
            y = self._scratch.matrix("output", self._rows, z.shape[1], packed=True)
            self.steps.append(partial(torch.softmax, z, -1, out=y))
        elif output == "step":
            y = self._scratch.matrix("output", self._rows, 2, packed=True)
            fired = self._scratch.matrix("fired", self._rows, 1, packed=True)
            # 0, or NaN where z is NaN, which is no class; an infinite z is on one side.
            self.steps.append(partial(torch.clamp, z, -1, 1, out=y[:, 1:]))
            self.steps.append(partial(y[:, 1:].mul_, 0))
            self.steps.append(partial(y[:, :1].copy_, y[:, 1:]))
            self.steps.append(partial(torch.lt, z, 0, out=fired))
            self.steps.append(partial(y[:, :1].add_, fired))
            self.steps.append(partial(torch.ge, z, 0, out=fired))
            self.steps.append(partial(y[:, 1:].add_, fired))
        elif output == "sigmoid":
            y = self._scratch.matrix("output", self._rows, 2, packed=True)
            self.steps.append(partial(torch.neg, z, out=y[:, :1]))
            self.steps.append(partial(y[:, 1:].copy_, z))
            self.steps.append(partial(torch.sigmoid, y, out=y))
        elif output == "exponential":
            y = self._scratch.matrix("output", self._rows, z.shape[1], packed=True)
            self.steps.append(partial(torch.exp, z, out=y))
        elif output == "logistic":
            y = self._scratch.matrix("output", self._rows, z.shape[1], packed=True)
            # Not `torch.sigmoid`, which computes the last few numbers of a block of memory in another way than the
            # others: a row's bits would depend on its place in the batch.
            self.steps.append(partial(torch.neg, z, out=y))
            self.steps.append(partial(torch.exp, y, out=y))
            self.steps.append(partial(y.add_, 1))
            self.steps.append(partial(torch.reciprocal, y, out=y))
        elif output == "argmax":
            y = self._scratch.matrix("output", self._rows, z.shape[1], packed=True)
            self.steps.append(partial(_choose, z, y))
        if self._members > 1:
            total = self._scratch.matrix("mean", self._rows, y.shape[1], packed=True)
            self.steps.append(self._sum(total, y))
            y = total
        self._answered += 1
        self.value = y

    def finish(
        self, clamp: tuple[float, float] | tuple[Float32Array, Float32Array] | None, factor: float = 1.0
    ) -> ForwardPlan:
        """Adds the mean over the members, the factor and the clamp, if any, and returns the plan.

        Args:
            clamp: smallest and largest answer, numbers or (out_features,); None for no bounds.
            factor: factor of the answers.
        """
        y = self.value
        if self._members > 1:
            weight = self._members if self._weights is None else sum(self._weights)
            self.steps.append(partial(torch.div, y, weight, out=y))
        if factor != 1:
            self.steps.append(partial(torch.mul, y, factor, out=y))
        if clamp is not None:
            low, high = (bound if isinstance(bound, float) else torch.from_numpy(bound).to(y.device) for bound in clamp)
            self.steps.append(partial(torch.clamp, y, low, high, out=y))
        return ForwardPlan(self.x, y, tuple(self.steps))

    def _sum(self, total: torch.Tensor, y: torch.Tensor) -> Step:
        """Returns the call that adds a member's answers, times its weight, to those of the members before."""
        is_first = self._answered == 0
        if self._weights is None:
            return partial(total.copy_ if is_first else total.add_, y)
        weight = self._weights[self._answered]
        return partial(torch.mul, y, weight, out=total) if is_first else partial(total.add_, y, alpha=weight)

    def _turn(self, width: int, dtype: torch.dtype, *, packed: bool) -> None:
        self.value = self._scratch.matrix(self._slot, self._rows, width, dtype=dtype, packed=packed)
        self._slot = "pong" if self._slot == "ping" else "ping"


def _choose(z: torch.Tensor, y: torch.Tensor) -> None:
    """Writes 1 for the largest output of each row and 0 for the others; NaN for outputs that are not finite."""
    torch.mul(z, 0, out=y)
    y.add_(torch.zeros_like(y).scatter_(1, z.argmax(dim=1, keepdim=True), 1))


def _layer_norm_(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float) -> None:
    x.copy_(functional.layer_norm(x, weight.shape, weight, bias, eps))
