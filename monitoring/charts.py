"""Charts over time, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from training.reporting.charts import Axis, Chart, axis_over

COLOURS = ("first", "second", "third", "fourth")
_DAY, _HOUR = 86_400, 3_600
_HOURS_UP_TO = 3 * _DAY  # of a span of time whose axis counts hours

Points = Sequence[tuple[int, float]]  # start of a period in seconds since 1970, and a value


def over_time(
    title: str,
    label: str,
    series: Mapping[str, Points],
    *,
    about: str,
    level: tuple[str, float] | None = None,
    within: tuple[float, float] | None = None,
) -> Chart | None:
    """Returns a chart of values by period; None with fewer than two periods, which make no line.

    Args:
        title: title of the chart.
        label: name of the values.
        series: points by name; the first four are drawn.
        about: description for those who do not see the chart.
        level: name and value of a level line, or None.
        within: range of the values' axis; None to find it.
    """
    drawn = dict(list(series.items())[: len(COLOURS)])
    starts = [start for points in drawn.values() for start, _ in points]
    if len(set(starts)) < 2:
        return None
    first, last = min(starts), max(starts)
    unit, word = (_HOUR, "hours") if last - first <= _HOURS_UP_TO else (_DAY, "days")
    since = datetime.fromtimestamp(first, UTC)
    when = f"{since:%Y-%m-%d %H:%M}" if unit == _HOUR or since.hour else f"{since:%Y-%m-%d}"
    values = [value for points in drawn.values() for _, value in points] + ([] if level is None else [level[1]])
    y = Axis(label=label, low=within[0], high=within[1]) if within is not None else axis_over(label, values)
    x = Axis(label=f"{word} since {when} UTC", low=0, high=(last - first) / unit)
    chart = Chart(title=title, about=about, x=x, y=y)
    if level is not None:
        chart.line([(x.low, level[1]), (x.high, level[1])], colour="thin rule", name=level[0])
    for colour, (name, points) in zip(COLOURS, drawn.items(), strict=False):
        at = [((start - first) / unit, value) for start, value in points]
        chart.line(at, colour=colour, name=name if len(drawn) > 1 or level is not None else None)
        for (start, value), (x_at, _) in zip(points, at, strict=True):
            moment = datetime.fromtimestamp(start, UTC)
            chart.point(x_at, value, colour=colour, label=f"{moment:%Y-%m-%d %H:%M}: {value:.4g}")
    return chart
