"""The steps of an input stage: each part writes its columns of one matrix, the input of the first Linear."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, Self

import torch

from inference.scratch import Scratch
from models.network.input_stage import InputStage
from models.network.inputs import FAR

Step = Callable[[], object]


class InputTensors(NamedTuple):
    """The tensors of an `InputStage` on the device; the class documents the shapes."""

    shift: torch.Tensor
    divisor: torch.Tensor
    frequency: torch.Tensor
    phase: torch.Tensor
    table: torch.Tensor
    offsets: torch.Tensor  # (indices,) int64: first table row of each index
    one: torch.Tensor  # ()

    @classmethod
    def of(cls, stage: InputStage, device: torch.device) -> Self:
        """Copies the tensors of a stage to the device."""
        shift, divisor, frequency, phase, table = (torch.tensor(array, device=device) for array in stage.arrays())
        offsets = torch.tensor(stage.inputs.table_offsets(), dtype=torch.int64, device=device)
        return cls(shift, divisor, frequency, phase, table, offsets, torch.ones((), device=device))


def add_input_stage(
    steps: list[Step], scratch: Scratch, rows: int, x: torch.Tensor, stage: InputStage, tensors: InputTensors
) -> torch.Tensor:
    """Adds the calls of an input stage to a plan.

    Args:
        steps: calls of the plan, to which this function appends.
        scratch: memory to write to.
        rows: number of rows of the pass.
        x: (rows, row_width) encoded rows.
        stage: input stage to compute.
        tensors: tensors of the stage on the device.

    Returns:
        (rows, stage.out_features) matrix that the calls fill.
    """
    inputs = stage.inputs
    out = scratch.matrix("input stage", rows, stage.out_features)
    n, waves, flags = len(inputs.numbers), tensors.frequency.numel(), len(inputs.flags)
    if n:
        numbers = out[:, :n]
        steps.append(partial(torch.sub, _columns(steps, scratch, rows, x, inputs.numbers), tensors.shift, out=numbers))
        steps.append(partial(torch.div, numbers, tensors.divisor, out=numbers))
        steps.append(partial(torch.clamp, numbers, -FAR, FAR, out=numbers))
        if inputs.clip is not None:
            _clip(steps, scratch, rows, numbers, inputs.clip, tensors.one)
        if waves:
            angles = out[:, n : n + waves].view(rows, n, -1)  # (rows, numbers, frequencies)
            steps.append(partial(torch.addcmul, tensors.phase, numbers[:, :, None], tensors.frequency, out=angles))
            steps.append(partial(torch.cos, angles, out=angles))
    if flags:
        copied = out[:, n + waves : n + waves + flags]
        steps.append(partial(copied.copy_, _columns(steps, scratch, rows, x, inputs.flags)))
    if inputs.indices:
        _look_up(steps, scratch, rows, x, stage, tensors, out[:, n + waves + flags :])
    return out


def _clip(
    steps: list[Step], scratch: Scratch, rows: int, numbers: torch.Tensor, bound: float, one: torch.Tensor
) -> None:
    """Adds the smooth clip x/√(1 + (x/bound)²), in place."""
    root = scratch.matrix("clip", rows, numbers.shape[1])
    steps.append(partial(torch.div, numbers, bound, out=root))
    steps.append(partial(torch.addcmul, one, root, root, out=root))
    steps.append(partial(torch.sqrt, root, out=root))
    steps.append(partial(torch.div, numbers, root, out=numbers))


def _look_up(
    steps: list[Step],
    scratch: Scratch,
    rows: int,
    x: torch.Tensor,
    stage: InputStage,
    tensors: InputTensors,
    out: torch.Tensor,  # (rows, indices·size)
) -> None:
    inputs = stage.inputs
    count, size = len(inputs.indices), inputs.embedding_size
    places = scratch.matrix("places", rows, count, dtype=torch.int64, packed=True)
    found = scratch.matrix("embedded", rows * count, size, packed=True)
    steps.append(partial(places.copy_, _columns(steps, scratch, rows, x, inputs.indices)))
    steps.append(partial(torch.add, places, tensors.offsets, out=places))
    steps.append(partial(torch.index_select, tensors.table, 0, places.view(-1), out=found))
    steps.append(partial(out.copy_, found.view(rows, count * size)))


def _columns(steps: list[Step], scratch: Scratch, rows: int, x: torch.Tensor, places: tuple[int, ...]) -> torch.Tensor:
    """Selects columns of the rows: a view if the columns are adjacent, else a copy."""
    start, count = places[0], len(places)
    if places == tuple(range(start, start + count)):
        return x[:, start : start + count]
    columns = scratch.matrix("columns", rows, count, packed=True)
    chosen = torch.tensor(places, device=x.device)
    steps.append(partial(torch.index_select, x, 1, chosen, out=columns))
    return columns
