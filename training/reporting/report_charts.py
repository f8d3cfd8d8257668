"""The charts of a report: learning curves, residuals, reliability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from training.engines.engine import Trained
from training.reporting.charts import Axis, Chart, axis_over
from training.reporting.evaluation import Calibration, Residuals
from training.reporting.figures import figure, metric_name

_FAR = 1e4  # spreads; if values are farther from 0, five ticks with five digits no longer differ
_COLOURS = ("first", "second", "third", "fourth")


def learning_curves(trained: Trained) -> list[Chart]:
    """Returns the learning curves of a run: one chart of all losses, and one chart of each other measure."""
    return history_charts(trained.history, trained.best_epoch)


def history_charts(measures: Mapping[str, Sequence[float]], best: int) -> list[Chart]:
    """Returns charts of a run's measures by epoch: one chart of all losses, and one chart of each other measure.

    Args:
        measures: values of the epochs by name of the measure.
        best: number of the epoch that was kept.
    """
    history = {name: list(values) for name, values in measures.items() if len(values) > 1}
    losses = [name for name in history if name.endswith("loss")]
    groups = [("Loss", losses)] if losses else []
    groups += [(metric_name(name).capitalize(), [name]) for name in history if name not in losses]
    charts = []
    for title, names in groups:
        values = [value for name in names for value in history[name]]
        epochs = max(len(history[name]) for name in names)
        chart = Chart(
            title=f"{title} by epoch",
            about=f"{epochs} epochs; the one that was kept is {best}. "
            + " ".join(
                f"{metric_name(name)}: from {figure(history[name][0])} to {figure(history[name][-1])}."
                for name in names
            ),
            x=Axis(label="epoch", low=1, high=epochs),
            y=axis_over(title.lower(), values, may_log=bool(losses)),
        )
        chart.line([(best, chart.y.low), (best, chart.y.high)], colour="thin rule", name=f"kept: epoch {best}")
        for colour, name in zip(_COLOURS, names, strict=False):
            chart.line(list(enumerate(history[name], start=1)), colour=colour, name=metric_name(name))
        charts.append(chart)
    return charts


def residual_charts(found: Residuals) -> list[Chart]:
    """Returns a scatter plot of predicted against true values, and a histogram of the errors."""
    both = [value for point in found.points for value in point]
    base = _base_of(min(both), max(both))
    less = f" − {base:,.17g}" if base else ""
    axis = axis_over(f"true value{less}", [value - base for value in both])
    scatter = Chart(
        title="Predicted against true values",
        about=f"{len(found.points)} rows; the closer to the diagonal, the better.",
        x=axis,
        y=Axis(label=f"predicted value{less}", low=axis.low, high=axis.high),
    )
    scatter.line([(axis.low, axis.low), (axis.high, axis.high)], colour="thin rule")
    for truth, value in found.points:
        scatter.point(truth - base, value - base, colour="first", radius=2.5)
    histogram = Chart(
        title="Errors: predicted minus true",
        about=residuals_in_words(found),
        x=Axis(label="error", low=found.edges[0], high=found.edges[-1]),
        y=Axis(label="rows", low=0, high=max(found.counts) * 1.05),
    )
    for low, high, count in zip(found.edges, found.edges[1:], found.counts, strict=False):
        histogram.bar(low, high, count, colour="first", label=f"{figure(low)} to {figure(high)}: {count:,} rows")
    return [scatter, histogram]


def _base_of(low: float, high: float) -> float:
    """Returns a round number to subtract from values that are far from 0, so that the axis ticks differ; else 0."""
    spread = high - low
    if spread == 0 or max(abs(low), abs(high)) < _FAR * spread:
        return 0.0
    step: float = 10.0 ** math.ceil(math.log10(spread))
    return math.floor(low / step) * step


def residuals_in_words(found: Residuals) -> str:
    """Returns a sentence on the size of the errors."""
    return (
        f"Half of the errors are within {figure(found.median_absolute)}, nine tenths within "
        f"{figure(found.p90_absolute)}; their mean is {figure(found.bias)}."
    )


def reliability_chart(calibration: Calibration) -> Chart:
    """Returns the reliability curve: accuracy by confidence."""
    filled = [place for place in calibration.bins if place.count]
    most = max(place.count for place in filled)
    chart = Chart(
        title="Reliability: how often answers are right, by how sure they are",
        about=" ".join(
            f"Confidence {figure(b.confidence)}: {figure(b.accuracy)} right, {b.count} rows." for b in filled
        ),
        x=Axis(label="confidence", low=0, high=1),
        y=Axis(label="share that is right", low=0, high=1),
    )
    chart.line([(0, 0), (1, 1)], colour="thin rule", name="as sure as right")
    chart.line([(b.confidence, b.accuracy) for b in filled], colour="first soft", name="this model")
    for b in filled:
        label = f"confidence {figure(b.confidence)}, {figure(b.accuracy)} right, {b.count:,} rows"
        chart.point(b.confidence, b.accuracy, colour="first", radius=2 + 7 * (b.count / most) ** 0.5, label=label)
    return chart
