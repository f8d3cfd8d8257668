"""An inference network on a device: its tensors there, and a runner for each row count that it computes."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from inference.bit_invariance import is_batch_invariant
from inference.cuda_runner import CudaRunner
from inference.expand_steps import ExpandTensors
from inference.forward_plan import ForwardPlan, PlanBuilder
from inference.log import Log, StandardLog
from inference.row_blocks import RowBlocks, choices
from inference.scratch import Scratch
from models.network.fuse import Activate, Affine, InferenceNetwork, LayerNorm, Stage
from models.network.input_stage import InputStage

Precision = Literal["fp32", "tf32", "bf16"]
Float32Array = NDArray[np.float32]


class Runner(Protocol):
    """Runs one forward plan."""

    def run(self, x: Float32Array, answers: Float32Array) -> None:
        """Answers for (n, in_features) rows, n at most the plan's, into (n, out_features)."""


class CpuRunner:
    """Runs a plan in the host's memory."""

    def __init__(self, plan: ForwardPlan) -> None:
        self._x = plan.x.numpy()
        self._y = plan.y.numpy()
        self._steps = plan.steps

    def run(self, x: Float32Array, answers: Float32Array) -> None:
        """Answers for (n, in_features) rows, n at most the plan's, into (n, out_features)."""
        n = len(x)
        self._x[:n] = x
        self._x[n:] = 0
        for step in self._steps:
            step()
        answers[:] = self._y[:n]


class DeviceNetwork:
    """An inference network on a device.

    One thread at a time may run it; `share` says which memory it then does so in.

    Args:
        network: what to run.
        device: where.
        precision: of matrix products after the first. That one stays float32: it holds the columns' standardisation,
            whose cancellation a shorter product would magnify (models/network/fuse.py).
        max_batch_rows: number of rows of the largest batch.
        log: log that is told of plans that cannot be captured.

    Attributes:
        batch_invariant: whether a row's answer was found not to depend on its company; False before `warm_up`.
    """

    def __init__(
        self,
        network: InferenceNetwork,
        device: torch.device,
        *,
        precision: Precision = "fp32",
        max_batch_rows: int,
        log: Log | None = None,
    ) -> None:
        self.in_features = network.in_features
        self.out_features = network.out_features
        self.parameter_count = network.parameter_count
        self.batch_invariant = False
        self._network = network
        self._device = device
        self._precision = precision
        self._log = StandardLog() if log is None else log
        self._choices = choices(
            device.type,
            max_batch_rows=max_batch_rows,
            multiply_adds=network.multiply_adds,
            widest=max(max(stage.weight.shape) for stage in network.stages if isinstance(stage, Affine)),
        )
        self._blocks = self._choices[0]
        self._scratch = Scratch(device)
        self._runners: dict[int, Runner] = {}
        self._members = [_on_device(stages, device, precision) for stages in network.members]
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pinned = Scratch(torch.device("cpu"), pinned=True)

    @property
    def blocks(self) -> RowBlocks:
        """The row counts that it computes."""
        return self._blocks

    def warm_up(self) -> None:
        """Takes the fastest row counts with which a row's answer does not depend on its company, by trying them.

        Where none will do, the fastest are taken and `batch_invariant` stays False. Runs every part of the network,
        so that kernels are chosen and graphs captured when it returns.
        """
        for blocks in self._choices:
            self._use(blocks)
            if is_batch_invariant(self.forward, self._network, blocks):
                self.batch_invariant = True
                return
        self._use(self._choices[0])

    def share(self, scratch: Scratch) -> None:
        """Runs in this memory from now on, which other networks use too."""
        self._scratch = scratch
        self._runners = {}

    def release(self) -> None:
        """Lets go of all memory but the network's own; it is taken again when rows come."""
        self._runners = {}
        self._scratch.clear()
        if self._device.type == "cuda":
            self._pinned.clear()

    def forward(self, x: Float32Array) -> Float32Array:
        """Answers for (rows, in_features) rows: (rows, out_features) probabilities or values.

        Raises:
            RuntimeError: torch's own, out of memory among them.
        """
        answers = np.empty((len(x), self.out_features), dtype=np.float32)
        if len(x) <= self._blocks.largest:
            self._runner(self._blocks.padded(len(x))).run(x, answers)
        else:
            for start, rows, padded in self._blocks.cut(len(x)):
                self._runner(padded).run(x[start : start + rows], answers[start : start + rows])
        return answers

    def plan(self, rows: int) -> ForwardPlan:
        """One pass over this many rows, in the memory shared."""
        network = self._network
        build = PlanBuilder(self._scratch, rows, self.in_features, members=len(network.members))
        tf32 = self._precision == "tf32"
        for stages in self._members:
            build.restart()
            products = 0
            for at, (stage, tensors) in enumerate(stages):
                match stage:
                    case Affine():
                        if tf32:
                            build.call(partial(_allow_tf32, products > 0))
                        weight, bias = tensors
                        build.product(weight, bias, packed=at == len(stages) - 1)
                        products += 1
                    case LayerNorm():
                        weight, bias = tensors
                        build.layer_norm(weight, bias, stage.eps)
                    case Activate(name):
                        build.activate(name, *tensors)
                    case InputStage():
                        build.expand(stage, ExpandTensors(*tensors))
            build.answer(network.output)
        if tf32:
            build.call(partial(_allow_tf32, False))
        return build.finish(network.clamp)

    def _use(self, blocks: RowBlocks) -> None:
        self._blocks = blocks
        self._runners = {}

    def _runner(self, rows: int) -> Runner:
        runner = self._runners.get(rows)
        if runner is None:
            plan = self.plan(rows)
            if self._device.type == "cuda":
                runner = CudaRunner(plan, self._stream, self._pinned, self._log)
            else:
                runner = CpuRunner(plan)
            self._runners[rows] = runner
        return runner


def _on_device(
    stages: tuple[Stage, ...], device: torch.device, precision: Precision
) -> list[tuple[Stage, tuple[torch.Tensor, ...]]]:
    """Each stage of a member with its tensors on the device; products after the first are of the precision."""
    placed: list[tuple[Stage, tuple[torch.Tensor, ...]]] = []
    narrow = torch.float32
    for stage in stages:
        match stage:
            case Affine(weight, bias):
                placed.append((stage, tuple(torch.tensor(a, device=device).to(narrow) for a in (weight, bias))))
                narrow = torch.bfloat16 if precision == "bf16" else torch.float32
            case LayerNorm(weight, bias, _):
                placed.append((stage, tuple(torch.tensor(array, device=device) for array in (weight, bias))))
            case Activate(_, mix):
                placed.append((stage, () if mix is None else (torch.tensor(mix, device=device),)))
            case InputStage():
                placed.append((stage, tuple(ExpandTensors.of(stage, device))))
    return placed


def _allow_tf32(allowed: bool) -> None:
    """For the products that follow; read when a product is issued, so that a captured graph keeps what it was."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
