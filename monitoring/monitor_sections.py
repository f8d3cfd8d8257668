"""The sections of a report on logged predictions, as HTML and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

import numpy as np

from models.distributions.evaluation import FALSE_ALARMS, LEAST_ROWS, Evaluation, Movement
from monitoring.charts import over_time
from monitoring.moments import moment_text, share_text
from monitoring.monitor import Answers, MonitorReport, PeriodReport, VersionReport
from monitoring.periods import period_text
from training.metrics import HEADLINE
from training.reporting import page
from training.reporting.evaluation import calibration_of, residuals_of
from training.reporting.figures import figure, metric_name
from training.reporting.report_charts import reliability_chart, residual_charts, residuals_in_words

_METRICS = ("accuracy", "roc_auc", "log_loss", "brier", "expected_calibration_error", "rmse", "mae", "r2")
_CHARTED = ("accuracy", "roc_auc", "log_loss", "expected_calibration_error", "rmse", "mae", "r2")
_SHARES = frozenset({"accuracy", "roc_auc"})
_MOVED = 4  # variables of a chart of drift
_LISTED = 15
_PERIODS = 60


def monitor_page(report: MonitorReport) -> str:
    """Returns the report as an HTML document."""
    first, last = min(v.first for v in report.versions), max(v.last for v in report.versions)
    about = f"{report.rows:,} logged rows from {moment_text(first)} to {moment_text(last)} UTC, by {report.by}."
    header = f"<header>\n<h1>{escape(report.model)}</h1>\n{page.paragraph(about, faint=True)}</header>"
    sections = [
        page.tiles(_tiles(report)),
        page.section("Notes", page.notes(report.remarks)),
        page.section("Over time", *_over_time(report)),
        page.section("By version", _by_version(report)),
        *(section for version in report.versions for section in _of_version(version, report)),
    ]
    return page.document(f"{report.model}: logged predictions", [header, *filter(None, sections)])


def monitor_lines(report: MonitorReport) -> Iterator[str]:
    """Yields the lines of a summary for a terminal."""
    first, last = min(v.first for v in report.versions), max(v.last for v in report.versions)
    yield f"{report.model}: {report.rows:,} logged rows, {moment_text(first)} to {moment_text(last)} UTC"
    if report.has_labels:
        share = share_text(report.labelled_rows, report.rows)
        yield f"{report.labelled_rows:,} of them have a label ({share})"
    for remark in report.remarks:
        yield f"note: {remark}"
    yield ""
    yield from text_table(*_version_table(report))
    for version in report.versions:
        yield ""
        yield f"{version.version} by {report.by}"
        yield from text_table(*_period_table(version, report))
        if version.drift is not None and version.drift.flagged:
            named = ", ".join(_moved(movement) for movement in version.drift.flagged[:_LISTED])
            yield f"drift since training: {named}"


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yields the lines of a table for a terminal; all columns but the first are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for number, (name, *cells) in enumerate((head, *rows)):
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        yield "  ".join((name.ljust(widths[0]), *aligned)).rstrip()
        if not number:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))


def _tiles(report: MonitorReport) -> Iterator[tuple[str, str, str]]:
    yield "Logged rows", f"{report.rows:,}", ""
    if report.has_labels:
        yield "With a label", share_text(report.labelled_rows, report.rows), f"{report.labelled_rows:,} rows"
    last = max(report.versions, key=lambda version: version.last)
    if last.labelled is not None:
        metrics = last.labelled.metrics()
        headline = HEADLINE["classification" if last.version.labels else "regression"]
        for name in dict.fromkeys((headline, "roc_auc", "log_loss", "rmse")):
            if name in metrics:
                test = last.test_metrics.get(name)
                below = f"of {last.version}" if test is None else f"{figure(test)} on the test part"
                yield (
                    metric_name(name).capitalize() if name not in ("roc_auc", "r2", "rmse") else metric_name(name),
                    figure(metrics[name]),
                    below,
                )
    if last.drift is not None:
        flagged = len(last.drift.flagged)
        yield "Drift", _verdict(last.drift), f"{flagged} of {len(last.drift.movements)} variables moved"


def _verdict(evaluation: Evaluation | None) -> str:
    if evaluation is None:
        return ""
    return {"drift": "yes", "no_drift": "no", "too_few_rows": "too few rows"}.get(evaluation.verdict, "")


def _metric_names(report: MonitorReport) -> list[str]:
    found = {name for version in report.versions if version.labelled for name in version.labelled.metrics()}
    return [name for name in _METRICS if name in found]


def _version_table(report: MonitorReport) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    names = _metric_names(report)
    head = ("version", "rows", *(["labelled"] if report.has_labels else []), *map(metric_name, names), "drift")
    rows = [_line(str(v.version), v.rows, v.labelled, v.drift, names, report) for v in report.versions]
    return head, rows


def _period_table(version: VersionReport, report: MonitorReport) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    names = _metric_names(report)
    head = (report.by, "rows", *(["labelled"] if report.has_labels else []), *map(metric_name, names), "drift")
    shown = version.periods[-_PERIODS:]
    rows = [_line(period_text(p.start, report.by), p.rows, p.labelled, p.drift, names, report) for p in shown]
    return head, rows


def _line(
    name: str,
    rows: int,
    labelled: Answers | None,
    drift: Evaluation | None,
    metrics: list[str],
    report: MonitorReport,
) -> tuple[str, ...]:
    found = {} if labelled is None else labelled.metrics()
    share = [share_text(0 if labelled is None else len(labelled.truth), rows)] if report.has_labels else []
    cells = [figure(found[metric]) if metric in found else "" for metric in metrics]
    return (name, f"{rows:,}", *share, *cells, _verdict(drift))


def _by_version(report: MonitorReport) -> str:
    head, rows = _version_table(report)
    return page.table(head, rows, numbers=range(1, len(head)))


def _over_time(report: MonitorReport) -> Iterable[str]:
    charts = []
    for name in _CHARTED:
        series = {}
        for version in report.versions:
            points = [(p.start, metrics[name]) for p in version.periods if name in (metrics := _metrics(p))]
            if points:
                series[str(version.version)] = points
        tests = {v.test_metrics[name] for v in report.versions if name in v.test_metrics}
        chart = series and over_time(
            f"{metric_name(name)[:1].upper()}{metric_name(name)[1:]} by {report.by}",
            metric_name(name),
            series,
            about=_in_words(series),
            level=("on the test part", tests.pop()) if len(tests) == 1 else None,
        )
        if chart:
            charts.append(chart.to_svg())
    rows = {str(v.version): [(p.start, float(p.rows)) for p in v.periods] for v in report.versions}
    most = max((value for points in rows.values() for _, value in points), default=1.0)
    chart = over_time(f"Logged rows by {report.by}", "rows", rows, about=_in_words(rows), within=(0.0, 1.05 * most))
    yield page.charts([*charts, *([] if chart is None else [chart.to_svg()])])


def _metrics(period: PeriodReport) -> dict[str, float | int]:
    return {} if period.labelled is None else period.labelled.metrics()


def _in_words(series: dict[str, list[tuple[int, float]]]) -> str:
    return " ".join(
        f"{name}: from {figure(points[0][1])} to {figure(points[-1][1])}." for name, points in series.items() if points
    )


def _of_version(version: VersionReport, report: MonitorReport) -> Iterator[str]:
    head, rows = _period_table(version, report)
    more = len(version.periods) - len(rows)
    earlier = page.paragraph(f"{more:,} earlier periods are not listed.", faint=True) if more > 0 else ""
    yield page.section(
        f"{version.version} by {report.by}", page.table(head, rows, numbers=range(1, len(head))), earlier
    )
    if version.labelled is not None:
        title = "Calibration" if version.version.labels else "Errors"
        yield page.section(f"{title} of {version.version}", *_calibration(version.labelled))
    if version.drift is not None:
        yield page.section(f"Drift of {version.version} since training", *_drift(version, version.drift, report))


def _calibration(labelled: Answers) -> Iterable[str]:
    if labelled.output == "softmax":
        found = calibration_of(labelled.values.astype(np.float32), labelled.truth)
        yield page.charts([reliability_chart(found).to_svg()])
        yield page.paragraph(
            f"Expected calibration error {figure(found.expected_error)}, on {len(labelled.truth):,} rows with a label. "
            "Larger discs are more rows; below the diagonal, the model is surer than it should be.",
            faint=True,
        )
    elif labelled.output == "linear":
        residuals = residuals_of(labelled.truth, labelled.values[:, 0].astype(np.float64), np.random.default_rng(0))
        yield page.charts(chart.to_svg() for chart in residual_charts(residuals))
        yield page.paragraph(residuals_in_words(residuals), faint=True)


def _drift(version: VersionReport, drift: Evaluation, report: MonitorReport) -> Iterable[str]:
    if drift.verdict == "too_few_rows":
        yield page.paragraph(f"A verdict takes {LEAST_ROWS} rows, and the log has {drift.window.rows:,}.")
    elif drift.flagged:
        named = ", ".join(_moved(movement) for movement in drift.flagged[:_LISTED])
        yield page.paragraph(
            f"{len(drift.flagged)} of {len(drift.movements)} columns and predictions moved beyond chance over all "
            f"logged rows: {named}."
        )
    else:
        yield page.paragraph("No column and no prediction moved beyond chance over all logged rows.")
    names = [_variable(movement) for movement in drift.movements if movement.is_judged][:_MOVED]
    series = {
        name: [(p.start, m.psi) for p in version.periods if p.drift for m in p.drift.movements if _variable(m) == name]
        for name in names
    }
    chart = over_time(
        f"Population stability index by {report.by}",
        "index",
        series,
        about=_in_words(series),
        level=("small shift", 0.1),
    )
    yield page.charts([] if chart is None else [chart.to_svg()])
    yield page.table(
        ("variable", "index", "noise", "threshold", "gaps", "out of range", "unknown", "moved"),
        [_movement(movement) for movement in drift.movements[:_LISTED]],
        numbers=range(1, 7),
    )
    more = len(drift.movements) - _LISTED
    rest = f" {more:,} more moved less." if more > 0 else ""
    yield page.paragraph(
        f"Population stability index against the training part, with the index to expect from "
        f"{drift.window.rows:,} rows without drift (noise). The probability of a false alarm "
        f"is {FALSE_ALARMS:.1%} for each period.{rest}",
        faint=True,
    )


def _movements(period: PeriodReport) -> tuple[Movement, ...]:
    return () if period.drift is None else period.drift.movements


def _movement(movement: Movement) -> tuple[str, ...]:
    name = movement.variable.name
    return (
        name if movement.variable.column is not None else f"({name} predicted)",
        f"{movement.psi:.3f}",
        f"{movement.noise:.3f}",
        "" if movement.threshold is None else f"{movement.threshold:.3f}",
        *(
            "" if (share := movement.shares.get(key)) is None else f"{share.window:.1%}"
            for key in ("gaps", "out_of_range", "unknown")
        ),
        "yes" if movement.flagged else "" if movement.is_judged else "not judged",
    )


def _moved(movement: Movement) -> str:
    said = [
        f"PSI {movement.psi:.2f}"
        if reason == "values"
        else f"{reason.replace('_', ' ')} {movement.shares[reason].window:.1%}"
        for reason in movement.reasons
    ]
    return f"{_variable(movement)} ({', '.join(said)})"


def _variable(movement: Movement) -> str:
    """Returns the name of a variable; of the predictions of one of several targets, a name that no column has."""
    variable = movement.variable
    is_target = variable.column is None and variable.name not in ("class", "confidence", "value")
    return f"{variable.name} (predicted)" if is_target else variable.name
