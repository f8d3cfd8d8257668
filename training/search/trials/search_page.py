"""The HTML page about a search: trials, importances and the winner's report. One file without scripts."""

from __future__ import annotations

from html import escape

from training.fitted_model import FittedModel
from training.metrics import HIGHER_IS_BETTER
from training.reporting import page
from training.reporting.charts import Axis, Chart, axis_over
from training.reporting.evaluation import Evaluation
from training.reporting.figures import metric_name, plainly
from training.reporting.html import report_sections
from training.search.space import label
from training.search.trials.result import SearchResult
from training.search.trials.tables import figure, sentences

_SHOWN = 50  # rows of the ranking


def search_page(result: SearchResult, model: FittedModel, evaluation: Evaluation, *, reference: str | None) -> str:
    """Returns the page as an HTML document.

    Args:
        result: result of the search.
        model: winner of the search.
        evaluation: evaluation of the winner on the test part.
        reference: version that the winner is published as, `NAME@VERSION`; None if not published.
    """
    about = (
        f"{len(result.trials):,} trials to find the settings that predict {model.table.target_name} best, judged by "
        f"{metric_name(result.metric)} on the validation part."
    )
    published = f"The winner is published as {reference}." if reference else "The winner is not published."
    body = [
        f"<header>\n<h1>Search: {escape(result.name)}</h1>\n{page.paragraph(about, faint=True)}</header>",
        page.section("What came of it", page.notes([*sentences(result), published, _FLATTERY])),
        page.section("Trials", page.charts([history_chart(result).to_svg()]), _ranking(result)),
        page.section("What mattered", _importances(result)),
        f"<h1>The winner: trial {result.winner.number}</h1>",
        *report_sections(model, evaluation, None),
    ]
    return page.document(f"Search: {result.name}", [part for part in body if part])


_FLATTERY = (
    "The winner's validation figure is the best of many and flatters it, the more so the fewer rows validate. The test "
    "part was not looked at before a trial had won: believe its figures."
)


def history_chart(result: SearchResult) -> Chart:
    """Returns a chart of each finished trial's figure and the best figure so far."""
    points = result.history()
    values = [value for _, value, _ in points]
    better = "higher" if result.metric in HIGHER_IS_BETTER else "lower"
    name = metric_name(result.metric)
    chart = Chart(
        title=f"Validation {name} by trial; {better} is better",
        about=f"{len(points)} finished trials; the best has {values and points[-1][2]:.4g}.",
        x=Axis(label="trial", low=0, high=max(len(result.trials) - 1, 1)),
        y=axis_over(f"validation {name}", values, may_log=True),
    )
    chart.line([(number, best) for number, _, best in points], colour="second", name="best so far")
    for number, value, _ in points:
        chart.point(number, value, colour="first", label=f"trial {number}: {value:.4g}")
    return chart


def _ranking(result: SearchResult) -> str:
    names = list(result.space.parameters)
    rows = [
        (
            result.called(trial),
            figure(trial),
            *(plainly(label(trial.settings.get(name))) for name in names),
            "" if trial.parameters is None else f"{trial.parameters:,}",
            f"{trial.epochs:,}",
            f"{trial.seconds:.1f}",
        )
        for trial in result.ranking()[:_SHOWN]
    ]
    head = ("trial", metric_name(result.metric), *names, "parameters", "epochs", "seconds")
    return page.table(head, rows, caption="The best first; ± is the standard error over the validation rows")


def _importances(result: SearchResult) -> str:
    if result.importances is None:
        return ""
    rows = [(name, f"{share:.0%}") for name, share in result.importances.items()]
    about = "Share of the variance of the figure over finished trials that each setting explains (functional ANOVA)."
    return page.table(("setting", "share"), rows, numbers=(1,)) + page.paragraph(about, faint=True)
