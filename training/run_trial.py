"""A short trial before a run with a budget: some steps and an evaluation of the run's own network and rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines.engine import Matrices
from training.run_plan import Costs

_ROWS = 8192  # of the training and of the validation part in a trial
_WARM_UP = 2  # steps before the first timed one: they choose kernels and allocate memory
_STEPS = 5  # timed steps of each size at least, of which the median counts
_MEMBERS = 4  # networks of the trial that measures further members
_MOST_CONTENTION = 5.0
_SHARE = 0.02  # of the budget for each of the measurements


def measure_costs(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    device: str,
    batch_sizes: Sequence[int],
    members: int | None,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Costs:
    """Measures the costs of a run without a change to the run.

    Args:
        config: settings of the run.
        architecture: architecture of the network.
        data: rows and targets of the run.
        device: name of the torch device.
        batch_sizes: batch sizes to measure, ascending.
        members: number of members, if the user chose it; None to measure one and several.
        seconds: budget of the run, which bounds the time of the trial.
        clock: clock in seconds.
        cpu_clock: CPU time of this process in seconds.
    """
    begun, cpu_begun = clock(), cpu_clock()
    trial = _Trial(config, architecture, _some(data), device=device, most_seconds=_SHARE * seconds, clock=clock)
    one = members or 1
    steps, row = trial.measure(one, batch_sizes[:1], evaluates=True)
    if members is None:
        several, _ = trial.measure(_MEMBERS, batch_sizes[:1])
        another = max(several[batch_sizes[0]] / steps[batch_sizes[0]] - 1, 0.0) / (_MEMBERS - 1)
    else:
        another = 1.0  # never used for other numbers of members than the chosen one
    if len(batch_sizes) > 1:
        larger, _ = trial.measure(one, batch_sizes[1:])
        steps |= larger
    contention = (clock() - begun) / max(cpu_clock() - cpu_begun, 1e-9)
    return Costs(
        steps={size: step / (1 + (one - 1) * another) for size, step in steps.items()},
        another_member=another,
        row=row,
        contention=min(max(contention, 1.0), _MOST_CONTENTION),
    )


class _Trial:
    def __init__(
        self,
        config: TrainConfig,
        architecture: MLPConfig,
        data: Matrices,
        *,
        device: str,
        most_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._config, self._architecture, self._data = config, architecture, data
        self._device, self._most_seconds, self._clock = device, most_seconds, clock

    def measure(
        self, members: int, batch_sizes: Sequence[int], *, evaluates: bool = False
    ) -> tuple[dict[int, float], float]:
        """Returns the seconds of a step by batch size, and of the evaluation of one row by one member."""
        # Imported here: torch takes longer to import than a refusal of the run takes.
        import torch

        from training.engines.trainer import Trainer

        found = {}
        row = 0.0
        for size in batch_sizes:
            config = replace(
                self._config, members=members, folds=False, batch_size=size, rows_per_epoch=None, epoch_plan=()
            )
            trainer = Trainer(
                config, replace(self._architecture, members=members), self._data, device=torch.device(self._device)
            )

            def take(trainer: Trainer = trainer, rate: float = config.learning_rate) -> None:
                loss = trainer.step(trainer.random_batch(), rate=rate)
                loss.sum().item()  # waits for a device that computes on its own

            found[size] = self._timed(take)
            if evaluates:
                row = self._timed(lambda trainer=trainer: trainer.evaluate().loss.sum().item(), steps=2)  # type: ignore[misc]
                row /= members * len(self._data.validation_y)
        return found, row

    def _timed(self, action: Callable[[], object], *, steps: int = _STEPS) -> float:
        """Returns the median time of an action, in seconds; slow actions run fewer times."""
        begin = self._clock()
        action()
        if self._clock() - begin < self._most_seconds:
            for _ in range(_WARM_UP - 1):
                action()
        times: list[float] = []
        begin = self._clock()
        while len(times) < steps:
            before = self._clock()
            action()
            times.append(self._clock() - before)
            if self._clock() - begin > self._most_seconds:
                break
        return median(times)


def _some(data: Matrices) -> Matrices:
    """Returns the first rows of each part; the times of steps do not depend on the values."""
    train, validation = min(len(data.y), _ROWS), min(len(data.validation_y), _ROWS)
    y = data.y[:train]
    return replace(
        data,
        x=data.x[:train],
        y=y,
        validation_x=data.validation_x[:validation],
        validation_y=data.validation_y[:validation],
        folds=None,
        # Equal weights: those of the first rows may all be 0, and a step takes the same time.
        weight=None if data.weight is None else np.ones(train),
        validation_weight=None if data.validation_weight is None else np.ones(validation),
    )
