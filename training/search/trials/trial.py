"""A trial: trains a network at one point of the search space and evaluates the network on the validation part."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.checkpoint import Checkpoint
from models.errors import AxonError
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.engine import OnEpoch, ShouldStop
from training.fit import fit_table
from training.metrics import MetricFigure
from training.search.trials.ranking_value import ranking_value
from training.search.trials.standard_errors import standard_error

State = Literal["finished", "pruned", "failed", "interrupted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Holds the settings and the result of a trial that has ended.

    Attributes:
        number: number of the trial in the study, from 0.
        state: `finished`; `pruned`, if others were better at the same epoch; `failed`; or `interrupted`: such a trial
            does not count, and is trained again when the study is resumed.
        settings: values of the fields of `TrainConfig` that vary.
        value: metric on the validation part, in which rows count by their weights; None unless the trial finished.
        error: standard error of `value` over the rows of the validation part; None if unknown.
        metrics: all metrics on the validation part, in which each row counts once.
        parameters: number of parameters of the network.
        epochs: number of epochs trained.
        seconds: duration of the trial.
        is_default: True for the trial of the defaults, which is the first one.
        is_cut: True if the trial was ended early and is kept because no other trial had finished. A continued search
            trains its point again.
        reason: reason of a failure.
    """

    number: int
    state: State
    settings: Mapping[str, Any]
    value: float | None = None
    error: float | None = None
    metrics: Mapping[str, float | int] | None = None
    parameters: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    is_default: bool = False
    is_cut: bool = False
    reason: str | None = None

    @property
    def counts(self) -> bool:
        """True if the trial counts towards the number of trials asked for, and is not to be trained again."""
        return self.state != "interrupted" and not self.is_cut


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The outcome of training at one point.

    Attributes:
        was_ended: True if the training was told to stop before its last epoch.
        value, error, metrics, parameters, epochs, seconds, reason: same as in `Trial`; only a failure has a `reason`.
        checkpoint: trained model; None after a failure.
    """

    seconds: float
    was_ended: bool = False
    value: float | None = None
    error: float | None = None
    metrics: Mapping[str, float | int] | None = None
    parameters: int | None = None
    epochs: int = 0
    checkpoint: Checkpoint | None = None
    reason: str | None = None


def run_trial(
    table: TrainingTable,
    config: TrainConfig,
    *,
    metric: MetricFigure,
    device: str,
    on_epoch: OnEpoch,
    should_stop: ShouldStop,
    threads: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Outcome:
    """Trains one point of the space. A failure raises no exception: the outcome has the reason.

    Args:
        table: table to train on.
        config: settings of the point.
        metric: figure of the validation part that ranks the trials.
        device: name of the torch device to train on.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the training.
        threads: number of CPU threads; the number that `fit` would choose if None.
        clock: monotonic clock in seconds.
    """
    begin = clock()
    try:
        model = fit_table(table, config, device=device, on_epoch=on_epoch, should_stop=should_stop, threads=threads)
        value = ranking_value(model, metric)
        error = standard_error(model, metric)
    except AxonError as refused:
        return Outcome(seconds=clock() - begin, reason=str(refused))
    except KeyError:  # R² of a validation part whose values are all equal
        return Outcome(seconds=clock() - begin, reason=f"the validation part has no {metric}.")
    except (MemoryError, RuntimeError) as failed:  # perhaps for this point only: a network too wide for the device
        first_line = str(failed).partition("\n")[0]
        return Outcome(seconds=clock() - begin, reason=f"{type(failed).__name__}: {first_line}")
    if not math.isfinite(value):
        return Outcome(seconds=clock() - begin, reason=f"its {metric} is no finite number.")
    return Outcome(
        seconds=clock() - begin,
        was_ended=model.trained.stopped == "asked",
        value=value,
        error=error,
        metrics=model.metrics["validation"],
        parameters=model.checkpoint.config.parameter_count,
        epochs=model.trained.epochs_run,
        checkpoint=model.checkpoint,
    )
