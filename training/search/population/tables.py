"""The result of a population as a table and sentences: the final ranking, the course of the run, the winner."""

from __future__ import annotations

from rich import box
from rich.table import Table

from training.live import duration
from training.search.population.result import PopulationResult, Stage

_SHOWN = 16  # rows of the table
_ENDED = {
    "epochs": "",
    "patience": "; no new best for as long as patience lasts",
    "time": "; time was up",
    "asked": "; stopped on request",
    "diverged": "; every member diverged",
}


def final_ranking_table(result: PopulationResult) -> Table:
    """Returns a table of the members after the last epoch, one row each."""
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"{result.name}: the members after epoch {result.run.epochs} by {result.metric} on the validation part",
    )
    table.add_column("", justify="right")
    table.add_column("member", justify="right")
    table.add_column(result.metric, justify="right", no_wrap=True)
    table.add_column("learning rate", justify="right")
    table.add_column("dropout", justify="right")
    table.add_column("replaced after epochs")
    for place, member in enumerate(result.run.final_ranking()[:_SHOWN], 1):
        table.add_row(
            str(place),
            str(member.member),
            "no number" if member.value is None else f"{member.value:.4g}",
            f"{member.learning_rate:.4g}",
            f"{member.dropout:.3g}",
            ", ".join(map(str, member.replaced)),
        )
    return table


def sentences(result: PopulationResult) -> list[str]:
    """Returns sentences on the course of the run, the winner and its lineage."""
    run = result.run
    replaced = len(run.exploits)
    ran = (
        f"{run.members} members, {run.epochs} epochs in {duration(result.seconds)}{_ENDED[run.ended]}: "
        f"{replaced} times one was replaced by a copy of a better."
    )
    won = (
        f"Member {run.best_member} won, as it was after epoch {run.best_epoch}: {result.metric} {run.best_value:.4g} "
        "on the validation part."
    )
    return [ran, won, f"Its line: {'; '.join(map(_stage, run.stages()))}.", *result.model.notes]


def _stage(stage: Stage) -> str:
    return f"from epoch {stage.epoch} learning rate {stage.learning_rate:.3g}, dropout {stage.dropout:.3g}"
