"""A panel of the dashboard and its queries, and the queries that many panels have in common."""

from __future__ import annotations

from dataclasses import dataclass

SERVER = 'job=~"$job", instance=~"$instance"'
MODEL = f'{SERVER}, model=~"$model"'
RATE = "[$__rate_interval]"


@dataclass(frozen=True)
class Query:
    """A PromQL query, and the name of its series; `{{label}}` stands for the value of a label."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    Attributes:
        title: title of the panel.
        queries: queries, drawn in one panel.
        description: text behind the info sign.
        kind: panel type of Grafana: `timeseries`, `stat` or `table`.
        unit: unit of Grafana, such as `s` or `percentunit`.
        width: width in columns, of 24.
        height: height in rows of Grafana's grid.
        is_stacked: True if the series add up.
        limit: value from which a number is red; None for no colour.
        hidden: columns of a table that are not shown.
    """

    title: str
    queries: tuple[Query, ...]
    description: str
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    is_stacked: bool = False
    limit: float | None = None
    hidden: tuple[str, ...] = ()


def stat(title: str, expr: str, description: str, unit: str = "short", limit: float | None = None) -> Panel:
    """Returns a panel with one large number."""
    return Panel(title, (Query(expr),), description, "stat", unit, width=4, height=4, limit=limit)


def quantiles(metric: str, selector: str, by: str = "") -> tuple[Query, ...]:
    """Returns queries of the median, the 90th and the 99th percentile of a histogram; by a label, of the 99th alone."""
    labels = f"le, {by}" if by else "le"
    buckets = f"sum by ({labels}) (rate({metric}_bucket{{{selector}}}{RATE}))"
    if by:
        legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", "))
        return (Query(f"histogram_quantile(0.99, {buckets})", legend),)
    return tuple(Query(f"histogram_quantile({p / 100}, {buckets})", f"p{p}") for p in (50, 90, 99))


def rate(metric: str, selector: str, by: str) -> str:
    """Returns a query of a counter's rate, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{selector}}}{RATE}))"


def burn(kind: str, budget: str) -> tuple[Query, ...]:
    """Returns queries of the burn rate of a budget over the three long windows of the alerts."""
    windows = {"1h": "1 hour", "6h": "6 hours", "3d": "3 days"}
    return tuple(
        Query(f'job:axon_requests_{kind}:ratio_rate{window}{{job=~"$job"}} / {budget}', f"{{{{job}}}}, {name}")
        for window, name in windows.items()
    )
