"""The figure of the validation part that ranks the networks of a search, by the metric that the search is for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from models.errors import ConfigError
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.engine import SELECTION_MEASURES
from training.metrics import FIGURES, MetricFigure
from training.prepared_rows import check_target
from training.recipes import Metric
from training.setting_checks import one_of

# Metrics that also rank the runs of engines whose runs are for no metric, by task; the first one is the default.
_OF_ALL_ENGINES: Mapping[str, tuple[Metric, ...]] = {
    "classification": ("log-loss", "accuracy"),
    "regression": ("rmse", "r2"),
}
# Measures of an epoch that follow a figure more closely than the loss does; of all, less is better.
_MEASURES: Mapping[MetricFigure, str] = {
    "accuracy": "validation_error",
    "roc_auc": SELECTION_MEASURES["auc"],
    "balanced_accuracy": SELECTION_MEASURES["balanced-error"],
}


def metric_named(text: str) -> Metric:
    """Returns the metric with a name; `log_loss`, as figures are spelled, is `log-loss`.

    Raises:
        ConfigError: no metric has the name.
    """
    name = text.replace("_", "-") if isinstance(text, str) else text
    one_of("metric", name, Metric)
    return cast(Metric, name)


def settings_for(settings: Mapping[str, Any], metric: str | None) -> dict[str, Any]:
    """Returns the settings of runs that are for a metric, which decides loss, smoothing, activation and best epoch.

    Engines other than torch have runs for no metric. There, the metrics of all engines rank and are no setting.

    Args:
        settings: choices of the user.
        metric: metric of the search; None for the recipe's own aim.

    Raises:
        ConfigError: the metric is unknown, or the settings name another one.
    """
    if metric is None:
        return dict(settings)
    metric = metric_named(metric)
    if (own := settings.get("metric")) not in (None, metric):
        raise ConfigError(f"the search is for {metric}, and its settings are for {own}: name one metric.")
    is_torch = (settings.get("engine") or "torch") == "torch"
    if not is_torch and any(metric in metrics for metrics in _OF_ALL_ENGINES.values()):
        return dict(settings)
    return {**settings, "metric": metric}


def ranking_figure(table: TrainingTable, config: TrainConfig, metric: str | None = None) -> MetricFigure:
    """Returns the figure that ranks networks: that of the metric which the runs are for, else log loss or RMSE.

    Args:
        table: table of the search.
        config: settings of the runs.
        metric: metric of the search; None for that of the settings.

    Raises:
        ConfigError: the task or the engine does not have the metric, or the settings are not resolved for it.
    """
    asked = None if metric is None else metric_named(metric)
    if config.metric is not None:
        if asked not in (None, config.metric):
            raise ConfigError(f"the search is for {asked}, and its settings are for {config.metric}: name one metric.")
        check_target(table, config)
        return FIGURES[config.metric]
    there_are = _OF_ALL_ENGINES[table.task]
    if config.engine == "perceptron":
        there_are = ("accuracy",)  # a step function gives no probabilities
    if asked is None:
        return FIGURES[there_are[0]]
    if config.engine == "torch":
        raise ConfigError(f"the settings are for no metric: resolve them with metric={asked!r}, which decides them.")
    if asked not in there_are:
        raise ConfigError(f"a {table.task} is judged by {' or '.join(there_are)}, not by {asked}.")
    return FIGURES[asked]


def trial_figure(table: TrainingTable, config: TrainConfig, metric: str | None = None) -> MetricFigure:
    """Returns the figure that ranks trials, which is balanced accuracy for balanced classes.

    Balanced classes shift the probabilities on purpose, so that the log loss of the table's rows is no aim of them. The
    arguments are those of `ranking_figure`.

    Raises:
        ConfigError: as `ranking_figure` does.
    """
    figure = ranking_figure(table, config, metric)
    is_free = metric is None and config.metric is None and config.engine != "perceptron"
    return "balanced_accuracy" if is_free and config.class_weight == "balanced" else figure


def pruning_measure(figure: MetricFigure, varied: Mapping[str, Any]) -> str:
    """Returns the measure of an epoch by which a pruner compares trials, if the epoch has this measure, else the loss.

    Args:
        figure: figure that ranks the trials.
        varied: settings that vary, by name.
    """
    if figure != "accuracy" and "select_by" in varied:
        return "validation_loss"  # only the trials of one rule have the measure of that rule
    return _MEASURES.get(figure, "validation_loss")


def aim_of(config: TrainConfig, figure: MetricFigure) -> str:
    """Returns the aim of a search, such as `for auc`; the figure alone if the runs are for no metric."""
    if config.metric is None:
        return figure
    return f"for {config.metric}" + ("" if config.quantile is None else f" {config.quantile:g}")


def described_aim(aim: str | None) -> str:
    """Describes the aim that `aim_of` returned, for an error message."""
    if aim is None:
        return "no known metric"
    return f"trials that train {aim}" if aim.startswith("for ") else f"trials that are only ranked by {aim}"
