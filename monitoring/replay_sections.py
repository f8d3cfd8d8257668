"""The sections of a report on replayed rows, as HTML and as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

import numpy as np

from monitoring.charts import over_time
from monitoring.moments import moment_text, share_text
from monitoring.monitor_sections import text_table
from monitoring.periods import period_text
from monitoring.replay import DEVIATIONS, QUANTILES, DifferentRow, ReplayReport
from training.reporting import page
from training.reporting.charts import Axis, Chart
from training.reporting.figures import figure, plainly

_BARS = 30
_CLASSES = 20
_INPUTS = 6
_PERIODS = 60
_REFUSALS = 3


def replay_page(report: ReplayReport) -> str:
    """Returns the report as an HTML document."""
    answered = ", ".join(f"{version} ({rows:,} rows)" for version, rows in report.versions.items())
    about = f"{report.reference} answered {report.rows:,} logged rows again, which were answered by {answered}."
    header = f"<header>\n<h1>{escape(report.reference)}, replayed</h1>\n{page.paragraph(about, faint=True)}</header>"
    sections = [
        page.tiles(_tiles(report)),
        page.section("Notes", page.notes(remarks(report))),
        page.section("Differences", *_differences(report)),
        page.section("By class", *_classes(report)),
        page.section("Over time", *_over_time(report)),
        page.section("Rows that differ most", *_rows(report)),
    ]
    return page.document(f"{report.reference}: replayed predictions", [header, *filter(None, sections)])


def replay_lines(report: ReplayReport) -> Iterator[str]:
    """Yields the lines of a summary for a terminal."""
    answered = ", ".join(f"{version} ({rows:,} rows)" for version, rows in report.versions.items())
    yield f"{report.reference} against the log: {answered}"
    for remark in remarks(report):
        yield f"note: {remark}"
    yield f"{_equal(report)}: {share_text(float(report.agrees.sum()), report.rows)} of {report.rows:,} rows"
    yield ""
    yield from text_table(("quantile", _difference_name(report)), list(_quantiles(report)))
    if pairs := _pairs(report):
        yield ""
        yield from text_table(("logged → now", "rows", "share"), pairs[:_CLASSES])
    periods = report.by_period()
    if len(periods) > 1:
        yield ""
        rows = [(period_text(start, report.by), f"{count:,}", f"{share:.1%}") for start, count, share in periods]
        yield from text_table((report.by, "rows", "equal"), rows[-_PERIODS:])
    if report.most_different:
        yield ""
        head = ("request id", "row", "logged", "now", "difference")
        found = [(r.request_id, f"{r.row}", r.before, r.now, f"{r.difference:.4g}") for r in report.most_different]
        yield from text_table(head, found)


def remarks(report: ReplayReport) -> list[str]:
    """Returns sentences on rows that are not compared."""
    told = report.refused.most_frequent(_REFUSALS)
    found = [f"{report.reference} refuses {kind.rows:,} row{'' if kind.rows == 1 else 's'}: {kind}." for kind in told]
    if (others := report.refused.rows - sum(kind.rows for kind in told)) > 0:
        found.append(f"… and {others:,} more, for {len(report.refused) - len(told):,} other reasons.")
    if report.left_out:
        found.append(f"{report.left_out:,} rows were answered by a part of an ensemble, and are not compared.")
    if report.is_classifier and not report.has_probabilities:
        found.append("One of the versions gives no probabilities: only labels are compared.")
    return found


def _equal(report: ReplayReport) -> str:
    if report.is_classifier:
        return "equal labels"
    return f"values within {report.close:.3g}{f' {DEVIATIONS}' if report.in_deviations else ''}"


def _difference_name(report: ReplayReport) -> str:
    if report.is_classifier:
        return "largest difference of a probability" if report.has_probabilities else "different label"
    return f"difference of {report.unit}, now minus logged"


def _quantiles(report: ReplayReport) -> Iterator[tuple[str, str]]:
    names = {0.0: "least", 0.5: "median", 1.0: "greatest"}
    for quantile, value in zip(QUANTILES, np.quantile(report.differences, QUANTILES).tolist(), strict=True):
        yield names.get(quantile, f"{quantile:.0%}"), f"{value:.4g}"


def _tiles(report: ReplayReport) -> Iterator[tuple[str, str, str]]:
    equal = int(report.agrees.sum())
    yield "Compared rows", f"{report.rows:,}", f"{report.refused.rows:,} refused"
    yield _equal(report).capitalize(), share_text(equal, report.rows), f"{report.rows - equal:,} rows differ"
    sizes = np.abs(report.differences)
    yield "Median difference", figure(float(np.median(sizes))), "without the sign"
    yield "Greatest difference", figure(float(sizes.max())), ""


def _differences(report: ReplayReport) -> Iterable[str]:
    low, high = float(report.differences.min()), float(report.differences.max())
    if high > low:
        # Clipped to the middle 98 %, since a single row that differs very much would leave one bar for all others.
        reach = np.quantile(report.differences, (0.01, 0.99)).tolist()
        low, high = (reach[0], reach[1]) if reach[1] > reach[0] else (low, high)
        counts, edges = np.histogram(np.clip(report.differences, low, high), bins=_BARS, range=(low, high))
        name = _difference_name(report)
        chart = Chart(
            title=f"{name[:1].upper()}{name[1:]}",
            about=", ".join(f"{quantile} {value}" for quantile, value in _quantiles(report)),
            x=Axis(label="difference", low=low, high=high),
            y=Axis(label="rows", low=0, high=float(counts.max()) * 1.05),
        )
        for left, right, count in zip(edges.tolist(), edges.tolist()[1:], counts.tolist(), strict=False):
            chart.bar(left, right, count, colour="first", label=f"{left:.4g} to {right:.4g}: {count:,} rows")
        yield page.charts([chart.to_svg()])
        yield page.paragraph("The outermost bars also hold what lies beyond.", faint=True)
    yield page.table(("quantile", _difference_name(report)), list(_quantiles(report)), numbers=(1,))


def _pairs(report: ReplayReport) -> list[tuple[str, str, str]]:
    """Returns the pairs of different labels, the most frequent first, with the share of the logged label."""
    totals: dict[str, int] = {}
    for (before, _), rows in report.classes.items():
        totals[before] = totals.get(before, 0) + rows
    different = [(pair, rows) for pair, rows in report.classes.items() if pair[0] != pair[1]]
    different.sort(key=lambda one: -one[1])
    return [
        (f"{plainly(before)} → {plainly(now)}", f"{rows:,}", share_text(rows, totals[before]))
        for (before, now), rows in different
    ]


def _classes(report: ReplayReport) -> Iterable[str]:
    if not report.is_classifier:
        return
    pairs = _pairs(report)
    if not pairs:
        yield page.paragraph("All labels are equal.")
        return
    yield page.table(("logged → now", "rows", "share of the logged label"), pairs[:_CLASSES], numbers=(1, 2))
    if len(pairs) > _CLASSES:
        yield page.paragraph(f"{len(pairs) - _CLASSES:,} rarer pairs are not listed.", faint=True)


def _over_time(report: ReplayReport) -> Iterable[str]:
    periods = report.by_period()
    points = {report.reference: [(start, share) for start, _, share in periods]}
    about = ", ".join(f"{period_text(start, report.by)}: {share:.1%}" for start, _, share in periods[-_PERIODS:])
    equal = _equal(report)
    chart = over_time(f"Share of {equal} by {report.by}", "share", points, about=about)
    yield page.charts([] if chart is None else [chart.to_svg()])
    rows = [(period_text(start, report.by), f"{count:,}", f"{share:.1%}") for start, count, share in periods]
    yield page.table((report.by, "rows", equal), rows[-_PERIODS:], numbers=(1, 2))


def _rows(report: ReplayReport) -> Iterable[str]:
    if not report.most_different:
        yield page.paragraph("No row differs.")
        return
    columns = list(report.most_different[0].inputs)[:_INPUTS]
    head = ("request id", "row", "time, UTC", "answered by", "logged", "now", "difference", *map(plainly, columns))
    yield page.table(head, [_cells(row, columns) for row in report.most_different], numbers=(1, 2, 6))


def _cells(row: DifferentRow, columns: list[str]) -> tuple[str, ...]:
    return (
        plainly(row.request_id),
        f"{row.row}",
        moment_text(row.time),
        row.version,
        plainly(row.before),
        plainly(row.now),
        f"{row.difference:.4g}",
        *(plainly(row.inputs.get(name, "")) for name in columns),
    )
