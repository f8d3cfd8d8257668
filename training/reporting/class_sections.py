"""The sections of a report about classes: metrics, curves, calibration, costs of thresholds."""

from __future__ import annotations

from collections.abc import Iterable

from training.reporting import page
from training.reporting.charts import Axis, Chart
from training.reporting.class_evaluation import ClassBin, ClassCurves, ClassEvaluation
from training.reporting.figures import figure, plainly

_COLOURS = ("first", "second", "third", "fourth")
_RARE = 0.15  # share of a class's rows below which the calibration chart has logarithmic axes
_LEAST = 1e-4


def figures_section(found: ClassEvaluation) -> Iterable[str]:
    """Yields a table of the classes, with explanations of its columns, and the curves."""
    rows = [
        (
            plainly(each.label),
            f"{each.rows:,}",
            f"{each.named:,}",
            *(_cell(value) for value in (each.precision, each.recall, each.f1, each.predicted)),
        )
        for each in found.figures
    ]
    head = ("class", "rows", "named", "precision", "recall", "F1", "mean probability")
    yield page.table(head, rows, numbers=range(1, 7))
    yield page.paragraph(
        "Precision: of the rows that are given this class, the share that has it. Recall: of the rows that have it, "
        "the share that is given it. F1 is their harmonic mean. The rarest class comes first.",
        faint=True,
    )
    if found.curves:
        yield page.charts([roc_chart(found.curves).to_svg(), precision_recall_chart(found.curves).to_svg()])
        yield page.paragraph(
            "Each point of a curve is a threshold: the class is named where its probability is at least that. "
            + " ".join(
                f"{plainly(c.label)}: area under the ROC curve {figure(c.roc_auc)}, average precision "
                f"{figure(c.average_precision)}."
                for c in found.curves
            ),
            faint=True,
        )


def calibration_section(found: ClassEvaluation) -> Iterable[str]:
    """Yields for each drawn class a chart and a table of its share by predicted probability."""
    if not found.curves:
        return
    yield page.charts([class_calibration_chart(curves).to_svg() for curves in found.curves])
    for curves in found.curves:
        yield page.table(
            ("rows", "mean probability", "happened", "95 % interval"),
            [
                (f"{b.count:,}", figure(b.predicted), figure(b.happened), f"{figure(b.low)} to {figure(b.high)}")
                for b in curves.calibration
            ],
            caption=f"Probability of {plainly(curves.label)}, in {len(curves.calibration)} groups of equally many rows",
            numbers=(0, 1, 2),
        )
    yield page.paragraph(
        "Honest probabilities lie in the interval in about 19 of 20 groups. The groups hold equally many rows, so that "
        "the small probabilities of a rare class can be seen too.",
        faint=True,
    )


def costs_section(found: ClassEvaluation) -> Iterable[str]:
    """Yields a table of the costs of thresholds, by the cost ratio of a missed row to a false alarm."""
    if not found.costs:
        return
    rows = [
        (
            f"{c.ratio} ×",
            figure(c.threshold),
            f"{c.named:,}",
            f"{c.missed:,}",
            f"{c.false_alarms:,}",
            f"{c.cost:,}",
            f"{c.constant:,}",
        )
        for c in found.costs
    ]
    head = ("a miss costs", "threshold", "named", "missed", "false alarms", "cost", "constant answer")
    yield page.table(head, rows, numbers=range(1, 7))
    if found.odds_factor == 1:
        served = "The label that is served is the more probable one: 1 ×."
    else:
        served = (
            f"The odds of this model are {found.odds_factor:.3g} times those of the table on purpose (see the notes), "
            "and so are those of the thresholds. The label that is served is the more probable one by the shifted "
            f"probabilities, as if a miss cost {found.odds_factor:.3g} false alarms."
        )
    yield page.paragraph(
        f"A miss is a row of {plainly(found.rare or '')} that is not named so, a false alarm a row that is named so "
        "and is not. Where a miss costs k false alarms, naming it from probability 1/(1 + k) on costs least, if "
        "probabilities are honest. Costs are in false alarms, on the test part; the last column is the better of "
        f"naming every row so and none. {served}",
        faint=True,
    )


def class_calibration_chart(curves: ClassCurves) -> Chart:
    """Draws the share of a class's rows by predicted probability; on logarithmic axes for a rare class."""
    bins = curves.calibration
    total = sum(b.count for b in bins)
    is_rare = sum(b.count * b.happened for b in bins) < _RARE * total
    low = max(min([b.predicted for b in bins] + [b.happened for b in bins if b.happened]) / 2, _LEAST) if is_rare else 0
    label = plainly(curves.label)
    chart = Chart(
        title=f"{label}: how often it happened, by its probability",
        about=" ".join(f"Probability {figure(b.predicted)}: {figure(b.happened)} of {b.count} rows." for b in bins),
        x=Axis(label=f"probability of {label}", low=low, high=1, log=is_rare),
        y=Axis(label="share that happened", low=low, high=1, log=is_rare),
    )
    chart.line([(low, low), (1, 1)], colour="thin rule", name="as probable as it happened")
    for b in bins:
        chart.line([(b.predicted, max(b.low, low)), (b.predicted, b.high)], colour="first soft")
    chart.line([(b.predicted, max(b.happened, low)) for b in bins], colour="first soft", name="this model")
    for b in bins:
        chart.point(b.predicted, max(b.happened, low), colour="first", radius=3.5, label=_bin_in_words(b))
    return chart


def roc_chart(curves: Iterable[ClassCurves]) -> Chart:
    """Draws the ROC curves: recall by the share of other rows that are assigned to the class."""
    shown = list(curves)
    chart = Chart(
        title="ROC curve: rows of the class that are named, by others that are",
        about=" ".join(f"{plainly(c.label)}: area {figure(c.roc_auc)}." for c in shown),
        x=Axis(label="false alarms among other rows", low=0, high=1),
        y=Axis(label="recall", low=0, high=1),
    )
    chart.line([(0, 0), (1, 1)], colour="thin rule", name="by chance")
    for colour, curve in zip(_COLOURS, shown, strict=False):
        chart.line(curve.roc, colour=colour, name=plainly(curve.label))
    return chart


def precision_recall_chart(curves: Iterable[ClassCurves]) -> Chart:
    """Draws precision by recall, as the threshold falls."""
    shown = list(curves)
    chart = Chart(
        title="Precision by recall",
        about=" ".join(f"{plainly(c.label)}: average precision {figure(c.average_precision)}." for c in shown),
        x=Axis(label="recall", low=0, high=1),
        y=Axis(label="precision", low=0, high=1),
    )
    for colour, curve in zip(_COLOURS, shown, strict=False):
        chart.line(curve.precision_recall, colour=colour, name=plainly(curve.label))
    return chart


def _bin_in_words(b: ClassBin) -> str:
    return f"probability {figure(b.predicted)}, happened {figure(b.happened)} of {b.count:,} rows"


def _cell(value: float | None) -> str:
    return "" if value is None else figure(value)
