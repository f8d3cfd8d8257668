"""An inference network on a device: the tensors in device memory, and a runner for each row count."""

from __future__ import annotations

from functools import partial
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from inference.activations import in_place
from inference.bit_invariance import is_batch_invariant
from inference.cuda_runner import CudaRunner
from inference.forward_plan import ForwardPlan, PlanBuilder
from inference.input_steps import InputTensors
from inference.log import Log, StandardLog
from inference.row_blocks import RowBlocks, choices
from inference.scratch import Scratch
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm, Stage
from models.network.input_stage import InputStage

Precision = Literal["fp32", "tf32", "bf16"]
Float32Array = NDArray[np.float32]

# Memory of Python's and torch's objects, measured by the growth of a process by hundreds of small networks.
_STEP_BYTES = 1_500  # a bound operation of a plan with its views
_OBJECT_BYTES = 4_000  # a network without plans


class Runner(Protocol):
    """Runs one forward plan."""

    def run(self, x: Float32Array, answers: Float32Array) -> None:
        """Writes the answers to (n, in_features) rows into (n, out_features); n is at most the plan's row count."""


class CpuRunner:
    """Runs a plan in the host's memory."""

    def __init__(self, plan: ForwardPlan) -> None:
        self._x = plan.x.numpy()
        self._y = plan.y.numpy()
        self._steps = plan.steps

    def run(self, x: Float32Array, answers: Float32Array) -> None:
        """Writes the answers to (n, in_features) rows into (n, out_features); n is at most the plan's row count."""
        n = len(x)
        self._x[:n] = x
        self._x[n:] = 0
        for step in self._steps:
            step()
        answers[:] = self._y[:n]


class DeviceNetwork:
    """An inference network on a device.

    Only one thread at a time may run the network. `share` sets the memory for the intermediate values.

    Args:
        network: fused network to run.
        device: torch device of the network.
        precision: number format of the matrix products after the first; with `bf16`, the last one stays float32 too.
            The first product stays float32: it contains the columns' standardisation, whose cancellation a shorter
            format would magnify (models/network/fuse.py).
        max_batch_rows: number of rows of the largest batch.
        log: log for plans that cannot be captured.

    Attributes:
        choice: position of the row counts in use among the choices of the device.
        batch_invariant: True if the test at `warm_up` found that a row's answer does not depend on the batch; False
            before `warm_up`.
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
        self.choice = 0
        self._blocks = self._choices[0]
        self._scratch = Scratch(device)
        self._runners: dict[int, Runner] = {}
        self._runners_of_few: dict[tuple[int, int], Runner] = {}  # by row count and number of members
        self._plan_steps = 0  # steps of all plans in memory
        self._members = [_on_device(stages, device, precision) for stages in network.members]
        self._tensor_bytes = _bytes_of(network, self._members)
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self._pinned = Scratch(torch.device("cpu"), pinned=True)

    @property
    def blocks(self) -> RowBlocks:
        """Row counts to which batches are cut and padded."""
        return self._blocks

    @property
    def memory_bytes(self) -> int:
        """Number of bytes of the tensors and, estimated, of the plans."""
        return self._tensor_bytes + _STEP_BYTES * self._plan_steps

    def resume(self, choice: int, *, batch_invariant: bool) -> None:
        """Uses the result of an earlier `warm_up` of the same network on the same device, without a test."""
        self.batch_invariant = batch_invariant
        self._use(choice)

    def warm_up(self) -> None:
        """Chooses the fastest row counts with which the network is batch-invariant, by testing each choice.

        If no choice passes, the fastest row counts are used and `batch_invariant` stays False. The test runs all parts
        of the network, so kernels are chosen and graphs are captured afterwards.
        """
        for choice, blocks in enumerate(self._choices):
            self._use(choice)
            if is_batch_invariant(self.forward, self._network, blocks):
                self.batch_invariant = True
                return
        self._use(0)

    def share(self, scratch: Scratch) -> None:
        """Makes the network use memory that other networks use too."""
        self._scratch = scratch
        self._forget_plans()

    def release(self) -> None:
        """Frees all memory except the network's tensors; the next pass allocates memory again."""
        self._forget_plans()
        self._scratch.clear()
        if self._device.type == "cuda":
            self._pinned.clear()

    def forward(self, x: Float32Array, members: int | None = None) -> Float32Array:
        """Computes the answers to (rows, in_features) rows: (rows, out_features) probabilities or values.

        Args:
            x: (rows, in_features) rows.
            members: number of members of the ensemble whose (weighted) mean is the answer, the first ones; None for
                all.

        Raises:
            RuntimeError: An exception of torch, such as out of memory.
        """
        answers = np.empty((len(x), self.out_features), dtype=np.float32)
        if len(x) <= self._blocks.largest:
            self._runner(self._blocks.padded(len(x)), members).run(x, answers)
        else:
            for start, rows, padded in self._blocks.cut(len(x)):
                self._runner(padded, members).run(x[start : start + rows], answers[start : start + rows])
        return answers

    def plan(self, rows: int, members: int | None = None) -> ForwardPlan:
        """Builds the plan of one pass over this many rows through the first members, in the shared memory."""
        network = self._network
        chosen = self._members if members is None else self._members[:members]
        weights = None if network.weights is None else network.weights[: len(chosen)]
        build = PlanBuilder(self._scratch, rows, self.in_features, members=len(chosen), weights=weights)
        tf32 = self._precision == "tf32"
        for stages in chosen:
            build.restart()
            products = 0
            last = max(at for at, (stage, _) in enumerate(stages) if isinstance(stage, Affine))
            for at, (stage, tensors) in enumerate(stages):
                match stage:
                    case Affine():
                        if tf32:
                            build.call(partial(_allow_tf32, products > 0))
                        weight, bias = tensors
                        build.product(weight, bias, packed=at >= last)
                        products += 1
                    case LayerNorm():
                        weight, bias = tensors
                        build.layer_norm(weight, bias, stage.eps)
                    case Activate(name, _, constants):
                        build.activate(in_place(name, constants), *tensors)
                    case InputStage():
                        build.input_stage(stage, InputTensors(*tensors))
            build.answer(network.output)
        if tf32:
            build.call(partial(_allow_tf32, False))
        return build.finish(network.clamp, network.factor)

    def _use(self, choice: int) -> None:
        self.choice, self._blocks = choice, self._choices[choice]
        self._forget_plans()

    def _forget_plans(self) -> None:
        self._runners = {}
        self._runners_of_few = {}
        self._plan_steps = 0

    def _runner(self, rows: int, members: int | None) -> Runner:
        runner = self._runners.get(rows) if members is None else self._runners_of_few.get((rows, members))
        if runner is None:
            plan = self.plan(rows, members)
            if self._device.type == "cuda":
                runner = CudaRunner(plan, self._stream, self._pinned, self._log)
            else:
                runner = CpuRunner(plan)
            if members is None:
                self._runners[rows] = runner
            else:
                self._runners_of_few[rows, members] = runner
            self._plan_steps += len(plan.steps)
        return runner


def _bytes_of(network: InferenceNetwork, members: list[list[tuple[Stage, tuple[torch.Tensor, ...]]]]) -> int:
    """Returns the bytes of a network's arrays and of their copies on the device."""
    copies = (tensor for stages in members for _, tensors in stages for tensor in tensors)
    return _OBJECT_BYTES + 4 * network.parameter_count + sum(tensor.nbytes for tensor in copies)


def _on_device(
    stages: tuple[Stage, ...], device: torch.device, precision: Precision
) -> list[tuple[Stage, tuple[torch.Tensor, ...]]]:
    """Copies the tensors of each stage of a member to the device; products between the first and the last are short.

    The last product adds the mean of a target, which eight bits of mantissa would round to steps of many standard
    deviations.
    """
    placed: list[tuple[Stage, tuple[torch.Tensor, ...]]] = []
    last = max(i for i, stage in enumerate(stages) if isinstance(stage, Affine))
    dtype = torch.float32  # dtype of the next product
    for i, stage in enumerate(stages):
        match stage:
            case Affine(weight, bias):
                if i == last:
                    dtype = torch.float32
                placed.append((stage, tuple(torch.tensor(a, device=device).to(dtype) for a in (weight, bias))))
                dtype = torch.bfloat16 if precision == "bf16" else torch.float32
            case LayerNorm(weight, bias, _):
                placed.append((stage, tuple(torch.tensor(array, device=device) for array in (weight, bias))))
            case Activate(_, mix, _):
                placed.append((stage, () if mix is None else (torch.tensor(mix, device=device),)))
            case InputStage():
                placed.append((stage, tuple(InputTensors.of(stage, device))))
    return placed


def _allow_tf32(allowed: bool) -> None:
    """Sets whether the next products may use TF32; torch reads this when a product is issued or captured."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
