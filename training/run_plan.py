"""The plan of a run within a budget: members, epochs and batch, chosen by the measured speed of the machine.

The rules, of which docs/decisions/0066 has the measurements:

- A run has the epochs of the recipe if there is time for them.
- With more time, members come before the last half of the epochs: two members of 128 epochs are better than one of 256.
- With less time, a run has fewer epochs; on large tables, an epoch is then a part of the rows, so that the best epoch
  can be chosen among several and the plan can change during the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from training.budget import MOST_MEMBERS

_FLOOR = 0.5  # share of the recipe's epochs from which on time goes into another member
_EPOCHS = 40  # evaluations of a run that cannot have whole epochs: each is 2.5 % of the time
_EVALUATION = 0.25  # largest share of the time for evaluations of the validation part
_LARGER_BATCH = 1.3  # gain in rows a second from which on a larger batch is worth its fewer steps
_LEAST_STEPS = 2000  # steps that a run with a larger batch must still have


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """The measured times of a run on this machine.

    Attributes:
        steps: seconds of a training step by number of rows, for one member.
        another_member: seconds that each further member adds to a step, as a share of the time of a step.
        row: seconds of the evaluation of one row by one member.
        contention: wall-clock seconds per CPU second: 1 on an idle machine, more beside other work.
    """

    steps: Mapping[int, float]
    another_member: float
    row: float
    contention: float = 1.0

    def step(self, members: int, batch_size: int) -> float:
        """Returns the seconds of a training step."""
        return self.steps[batch_size] * (1 + (members - 1) * self.another_member)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """The settings that a budget decides, with the names of `TrainConfig`."""

    members: int
    epochs: int
    batch_size: int
    rows_per_epoch: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as JSON types."""
        return {
            "members": self.members,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "rows_per_epoch": self.rows_per_epoch,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The choices that a plan has.

    Attributes:
        epochs: largest number of passes over the training part.
        members: number of members, if the user chose it; None for the plan's choice.
        batch_sizes: batch sizes to choose from, ascending; the first is the recipe's.
        rows: number of rows of the training part.
        validation_rows: number of rows of the validation part.
        drop_last: True if an epoch leaves out the rows that do not fill a batch.
    """

    epochs: int
    members: int | None
    batch_sizes: tuple[int, ...]
    rows: int
    validation_rows: int
    drop_last: bool

    def steps(self, batch_size: int) -> int:
        """Returns the number of steps of a pass over the training part."""
        whole = self.rows // batch_size
        return max(whole if self.drop_last else -(-self.rows // batch_size), 1)


def choose_plan(costs: Costs, limits: Limits, seconds: float) -> RunPlan | None:
    """Chooses members, epochs and batch for a time of training.

    Args:
        costs: measured times.
        limits: choices that the plan has.
        seconds: seconds of training.

    Returns:
        The plan; None if there is no time for one step and its evaluation.
    """
    batch = limits.batch_sizes[0]
    members = limits.members or 1
    floor = max(int(limits.epochs * _FLOOR), 1)
    if limits.members is None:
        affordable = (k for k in range(MOST_MEMBERS, 1, -1) if _epochs(costs, limits, k, batch, seconds) >= floor)
        members = next(affordable, 1)
    epochs = _epochs(costs, limits, members, batch, seconds)
    if epochs < floor:
        batch = _batch(costs, limits, members, seconds)
        epochs = _epochs(costs, limits, members, batch, seconds)
    if epochs >= min(_EPOCHS, limits.epochs):
        return RunPlan(members=members, epochs=int(min(epochs, limits.epochs)), batch_size=batch)
    return _parts_of_epochs(costs, limits, members, batch, seconds)


def _epochs(costs: Costs, limits: Limits, members: int, batch: int, seconds: float) -> float:
    """Returns the number of passes over the training part, with an evaluation after each, that the time allows."""
    evaluation = members * limits.validation_rows * costs.row
    return seconds / (limits.steps(batch) * costs.step(members, batch) + evaluation)


def _batch(costs: Costs, limits: Limits, members: int, seconds: float) -> int:
    """Returns the smallest batch size that is nearly the fastest in rows per second and leaves enough steps."""
    speeds = {size: size / costs.step(members, size) for size in limits.batch_sizes}
    chosen = limits.batch_sizes[0]
    for size in limits.batch_sizes[1:]:
        has_steps = seconds / costs.step(members, size) >= _LEAST_STEPS
        if has_steps and speeds[size] >= _LARGER_BATCH * speeds[chosen]:
            chosen = size
    return chosen


def _parts_of_epochs(costs: Costs, limits: Limits, members: int, batch: int, seconds: float) -> RunPlan | None:
    """Returns a plan whose epochs use parts of the table. The time of the evaluations limits the number of epochs."""
    evaluation, step = members * limits.validation_rows * costs.row, costs.step(members, batch)
    number = int(min(max(seconds * _EVALUATION / evaluation, 1), _EPOCHS, limits.epochs))
    steps = int((seconds / number - evaluation) / step)
    if steps < 1:
        number, steps = 1, int((seconds - evaluation) / step)
    if steps < 1:
        return None
    steps = min(steps, limits.steps(batch))
    return RunPlan(members=members, epochs=number, batch_size=batch, rows_per_epoch=steps * batch)
