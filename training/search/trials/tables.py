"""The result of a search as tables and sentences: the ranking, the importances, and the winner's certainty."""

from __future__ import annotations

from rich import box
from rich.table import Table

from training.live import duration
from training.search.space import label
from training.search.trials.result import DEFAULTS, SearchResult
from training.search.trials.trial import Trial

_SHOWN = 10  # rows of the ranking
_ENDED = {
    "trials": "",
    "grid": "; the grid has no more points",
    "time": "; time was up",
    "asked": "; stopped on request",
}


def ranking_table(result: SearchResult) -> Table:
    """Returns a table of the best trials, one row each: place, figure on the validation part, settings that varied."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{result.name}: the best trials by {result.metric} on the validation part"
    )
    table.add_column("", justify="right")
    table.add_column("trial", justify="right")
    table.add_column(result.metric, justify="right", no_wrap=True)
    for name in result.space.parameters:
        table.add_column(name)
    table.add_column("parameters", justify="right")
    table.add_column("epochs", justify="right")
    table.add_column("s", justify="right")
    for place, trial in enumerate(result.ranking()[:_SHOWN], 1):
        table.add_row(
            str(place),
            result.called(trial),
            figure(trial),
            *(label(trial.settings.get(name)) for name in result.space.parameters),
            "" if trial.parameters is None else f"{trial.parameters:,}",
            str(trial.epochs),
            f"{trial.seconds:.1f}",
        )
    return table


def importance_table(result: SearchResult) -> Table | None:
    """Returns a table of the parameters' importances; None if the trials are too few."""
    if result.importances is None:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="what mattered: shares of the variance over finished trials (fANOVA)")
    table.add_column("parameter", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("", no_wrap=True)
    for name, share in result.importances.items():
        table.add_row(name, f"{share:.0%}", "█" * round(share * 30))
    return table


def sentences(result: SearchResult) -> list[str]:
    """Returns sentences on the course of the search and on the certainty of the winner."""
    counts = result.counts()
    states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    lines = [f"{len(result.trials)} trials in {duration(result.seconds)}: {states}{_ENDED[result.ended]}."]
    winner = result.winner
    if winner.is_default and result.first == DEFAULTS:
        lines.append(f"The defaults won: {result.metric} {figure(winner)} on the validation part.")
    else:
        default = next((trial for trial in result.ranking() if trial.is_default), None)
        called = "" if default is None else "the defaults have" if result.first == DEFAULTS else "the first trial has"
        beside = "" if default in (None, winner) else f"; {called} {figure(default)}"
        lines.append(f"Trial {winner.number} won: {result.metric} {figure(winner)} on the validation part{beside}.")
    if winner.is_cut:
        lines.append(
            f"Trial {winner.number} was ended after epoch {winner.epochs}, and won because no other was done. The same "
            "search, continued, trains it again."
        )
    if near := result.near():
        lines.append(_near(near, winner))
    failed = [trial for trial in result.trials if trial.state == "failed"]
    if failed:
        lines.append(f"Trial {failed[0].number} failed: {failed[0].reason}")
    return [*lines, *result.notes]


def figure(trial: Trial) -> str:
    """Returns a trial's figure as text, with the standard error if known."""
    if trial.value is None:
        return ""
    return f"{trial.value:.4g}" if trial.error is None else f"{trial.value:.4g} ± {trial.error:.2g}"


def _near(near: list[Trial], winner: Trial) -> str:
    count = "1 other trial is" if len(near) == 1 else f"{len(near)} other trials are"
    sentence = f"{count} so near that the validation part cannot tell which is best"
    smallest = min(near, key=lambda trial: trial.parameters or 0)
    if smallest.parameters and winner.parameters and smallest.parameters < winner.parameters:
        sentence += (
            f"; trial {smallest.number} has {smallest.parameters:,} parameters, the winner {winner.parameters:,}"
        )
    return f"{sentence}."
