"""A trial: trains a network at one point of the search space and evaluates the network on the validation part."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.errors import AxonError, ConfigError
from training.config import TrainConfig
from training.data.preprocessing import encode
from training.data.training_table import TrainingTable
from training.engines.engine import OnEpoch, ShouldStop
from training.fit import FittedModel, fit_table

Metric = Literal["log_loss", "accuracy", "rmse", "r2"]
State = Literal["finished", "pruned", "failed", "interrupted"]

_METRICS: Mapping[str, tuple[Metric, ...]] = {"classification": ("log_loss", "accuracy"), "regression": ("rmse", "r2")}
HIGHER_IS_BETTER: tuple[Metric, ...] = ("accuracy", "r2")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Holds the settings and the result of a trial that has ended.

    Attributes:
        number: number of the trial in the study, from 0.
        state: `finished`; `pruned`, if others were better at the same epoch; `failed`; or `interrupted`: such a trial
            does not count, and is trained again when the study is resumed.
        settings: values of the fields of `TrainConfig` that vary.
        value: metric on the validation part; None unless the trial finished.
        error: standard error of `value` over the rows of the validation part; None if unknown.
        metrics: all metrics on the validation part.
        parameters: number of parameters of the network.
        epochs: number of epochs trained.
        seconds: duration of the trial.
        is_default: True for the trial of the defaults, which is the first one.
        is_cut: True if the trial was ended early and counts as finished because no other trial had finished.
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


def choose_metric(table: TrainingTable, config: TrainConfig, asked: str | None) -> Metric:
    """Returns the metric that ranks the trials: the asked one, else that of the settings, else log loss or RMSE.

    Raises:
        ConfigError: the task or the engine does not have the metric.
    """
    there_are = _METRICS[table.task]
    if config.engine == "perceptron":
        there_are = ("accuracy",)  # a step function gives no probabilities
    if asked is None and config.metric is not None:
        asked = config.metric.replace("-", "_")
    for metric in there_are:
        if metric == (asked or there_are[0]):
            return metric
    raise ConfigError(f"a {table.task} is judged by {' or '.join(there_are)}, not by {asked!r}.")


def run_trial(
    table: TrainingTable,
    config: TrainConfig,
    *,
    metric: Metric,
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
        metric: metric that ranks the trials.
        device: name of the torch device to train on.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the training.
        threads: number of CPU threads; the number that `fit` would choose if None.
        clock: monotonic clock in seconds.
    """
    begin = clock()
    try:
        model = fit_table(table, config, device=device, on_epoch=on_epoch, should_stop=should_stop, threads=threads)
        value = float(model.metrics["validation"][metric])
        error = _standard_error(model, metric)
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


def _standard_error(model: FittedModel, metric: Metric) -> float | None:
    """Returns the standard error of the validation metric over the part's rows; for RMSE by the delta method."""
    rows = model.split.validation
    if metric == "r2" or len(rows) < 2:
        return None
    if metric == "accuracy":
        share = float(model.metrics["validation"]["accuracy"])
        return math.sqrt(share * (1 - share) / len(rows))
    checkpoint = model.checkpoint
    answers = checkpoint.inference_network().answer(encode(checkpoint.schema, model.table, rows))
    truth = model.table.target[rows]  # (rows,)
    if metric == "rmse":
        squares = np.square(answers[:, 0].astype(np.float64) - truth)
        rmse = math.sqrt(float(squares.mean()))
        return _of_mean(squares) / (2 * rmse) if rmse > 0 else 0.0
    of_truth = answers.astype(np.float64)[np.arange(len(rows)), truth]
    return _of_mean(-np.log(np.maximum(of_truth, np.finfo(np.float32).tiny)))


def _of_mean(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values)))
