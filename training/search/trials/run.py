"""A search from its beginning to its winner."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.checkpoint import Checkpoint
from models.errors import ConfigError
from models.network.config import Task
from models.store import check_model_name
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.engine import ShouldStop
from training.errors import SearchError
from training.free_cpus import free_cpus
from training.search.default_spaces import default_space
from training.search.space import SearchSpace, label
from training.search.trials.crew import Crew
from training.search.trials.folder import Keeper, MemoryKeeper, StudyFolder
from training.search.trials.result import SearchResult
from training.search.trials.session import Listener, Session
from training.search.trials.trial import Metric, Trial, choose_metric, run_trial
from training.search.trials.worker import Work
from training.sources import read_table

if TYPE_CHECKING:
    from training.data.column_choices import ColumnChoices


def search(
    source: Any,
    *,
    target: str | None = None,
    name: str | None = None,
    task: Task | None = None,
    choices: ColumnChoices | None = None,
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    missing_values: Any = (),
    encoding: str | None = None,
    skip_lines: int = 0,
    comment: str | None = None,
    test: Any = None,
    space: SearchSpace | None = None,
    settings: Mapping[str, Any] | None = None,
    **how: Any,
) -> SearchResult:
    """Searches for the settings that fit a table best. Writes nothing, unless it is given a folder.

    Args:
        source: a built-in dataset's name, a file, an Arrow table or a DataFrame, as in `fit`.
        target: the column to predict, as in `fit`.
        name: of the model, as in `fit`.
        task: `classification` or `regression`, as in `fit`.
        choices: the user's decisions about columns.
        delimiter: of a CSV file, as in `fit`.
        decimal: decimal mark of numbers that are texts, as in `fit`.
        thousands: mark between their thousands, as in `fit`.
        missing_values: values that stand for missing, as in `fit`.
        encoding: of a CSV file, as in `fit`.
        skip_lines: number of lines before a CSV file's header, as in `fit`.
        comment: beginning of a CSV file's lines that are passed over, as in `fit`.
        test: a second table, whose rows are the test part, as in `fit`.
        space: what varies; the recipe's own space if None, without what `settings` fix.
        settings: fields of `TrainConfig` that do not vary; for a built-in dataset, over its own.
        how: the other arguments of `search_table`.

    Raises:
        AxonError: as `fit` and `search_table` do.
    """
    table, config = read_table(
        source,
        target=target,
        name=name,
        task=task,
        choices=choices,
        delimiter=delimiter,
        decimal=decimal,
        thousands=thousands,
        missing_values=missing_values,
        encoding=encoding,
        skip_lines=skip_lines,
        comment=comment,
        test=test,
        settings=dict(settings or {}),
    )
    return search_table(table, config, space=space, fixed=tuple(settings or ()), **how)


def search_table(
    table: TrainingTable,
    config: TrainConfig | None = None,
    *,
    space: SearchSpace | None = None,
    fixed: tuple[str, ...] = (),
    trials: int = 50,
    timeout: float | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    metric: str | None = None,
    grid_points: int = 5,
    jobs: int = 1,
    threads: int | None = None,
    device: str = "auto",
    folder: StudyFolder | None = None,
    listener: Listener | None = None,
    should_stop: ShouldStop = lambda: False,
) -> SearchResult:
    """Searches on a table that was read and checked.

    The first trial trains the settings as they are, so that no winner is worse than they. All trials have the same
    rows to learn from and to be judged on. Of the test part's figures none is read but the winner's, once it has won.

    Args:
        table: the data.
        config: what the first trial trains, and what is the same in all.
        space: what varies; the recipe's own if None.
        fixed: fields that the recipe's own space leaves out.
        trials: in all, those of the folder's record counted.
        timeout: seconds; trials that run by then are cut off, and count only where there is no other.
        sampler: `tpe`, `gp`, `random`, `qmc` or `grid`.
        pruner: `median`, `hyperband` or `none`.
        metric: `log_loss`, `accuracy`, `rmse` or `r2`; log loss or RMSE if None.
        grid_points: of each range, in a grid.
        jobs: trials at a time; more than one are trained in processes of their own.
        threads: CPU threads of each trial; what `fit` would take of a job's share of the free CPUs if None.
        device: where to train.
        folder: keeps the record and the best checkpoint, and an earlier search goes on from it.
        listener: told how it goes.
        should_stop: asked after each epoch; True ends the search as a timeout does.

    Raises:
        ConfigError: something asked for that cannot be, or a folder whose study is of another table or space.
        SearchError: every trial failed, or workers cannot be started.
    """
    for what, count in (("trials", trials), ("jobs", jobs), ("grid_points", grid_points)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{what} must be a whole number of at least 1, got {count!r}.")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be more than 0 seconds, got {timeout!r}.")
    check_model_name(table.name)
    config = (config or TrainConfig()).for_table(table)
    space = space or default_space(config, task=table.task, fixed=fixed)
    chosen = choose_metric(table, config, metric)
    first = space.nearest(config)
    with contextlib.ExitStack() as stack:
        # Imported here: with Optuna come SQLAlchemy and more, and most commands need none of them.
        from training.search.trials.study import Study

        study = Study(
            space=space,
            metric=chosen,
            first=first,
            sampler=sampler,  # type: ignore[arg-type]  # refused there where it is none
            pruner=pruner,  # type: ignore[arg-type]
            epochs=config.epochs,
            grid_points=grid_points,
            seed=config.seed,
            file=folder.record if folder is not None else None,
            identity=_identity(table, config, space, chosen),
        )
        stack.callback(study.close)
        keeper: Keeper = folder if folder is not None else MemoryKeeper()
        session = Session(
            study=study,
            keeper=keeper,
            metric=chosen,
            trials=trials,
            jobs=jobs,
            timeout=timeout,
            should_stop=should_stop,
            listener=listener or Listener(),
        )
        given = Work(
            table=table,
            config=config,
            metric=chosen,
            device=device,
            threads=threads,
            most_threads=_share(jobs) if threads is None else None,
        )
        if jobs == 1:
            _run_here(session, given)
        elif not session.is_over():
            stack.enter_context(crew := Crew(given, jobs=jobs))
            crew.run(session)
        notes = [*_first_notes(space, config, first), *table.notes]
        winner = _winner(session, study.trials())
        checkpoint = keeper.kept(winner.number)
        if checkpoint is None:
            checkpoint = _trained_again(given, winner)
            notes.append(f"Trial {winner.number}'s checkpoint was not there any more: it was trained again.")
        return SearchResult(
            name=table.name,
            metric=chosen,
            space=space,
            trials=tuple(study.trials()),
            winner=winner,
            checkpoint=checkpoint,
            importances=study.importances(),
            ended=session.ended,
            seconds=session.seconds,
            notes=tuple(notes),
        )


def _run_here(session: Session, given: Work) -> None:
    while (point := session.next()) is not None:
        number = point.number
        outcome = run_trial(
            given.table,
            replace(given.config, **point.settings),
            metric=given.metric,
            device=given.device,
            on_epoch=lambda epoch, number=number: session.epoch(number, epoch),  # type: ignore[misc]
            should_stop=lambda number=number: session.must_end(number),  # type: ignore[misc]
            threads=given.threads,
        )
        session.done(number, outcome)


def _winner(session: Session, trials: list[Trial]) -> Trial:
    if (winner := session.best()) is not None:
        return winner
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed:
        raise SearchError(f"none of {len(trials)} trials came to a model; the first failed: {failed[0].reason}")
    raise SearchError("the search ended before its first trial did: there is no model.")


def _trained_again(given: Work, winner: Trial) -> Checkpoint:
    outcome = run_trial(
        given.table,
        replace(given.config, **winner.settings),
        metric=given.metric,
        device=given.device,
        on_epoch=lambda epoch: None,
        should_stop=lambda: False,
        threads=given.threads,
    )
    if outcome.checkpoint is None:
        raise SearchError(f"trial {winner.number} won, but trained again it came to nothing: {outcome.reason}")
    return outcome.checkpoint


def _identity(table: TrainingTable, config: TrainConfig, space: SearchSpace, metric: Metric) -> dict[str, str]:
    """What trials have in common that are to be compared, by the name that a refusal gives it."""
    common = {name: value for name, value in config.to_dict().items() if name not in space.parameters}
    return {
        "table": table.fingerprint(),
        "search space": _digest(space.to_json()),
        "set of fixed settings": _digest({"settings": common, "columns": repr(table.choices)}),
        "metric": metric,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _first_notes(space: SearchSpace, config: TrainConfig, first: Mapping[str, Any]) -> list[str]:
    moved = [name for name, value in first.items() if label(value) != label(getattr(config, name))]
    if not moved:
        return []
    shown = ", ".join(f"{name} {label(getattr(config, name))} → {label(first[name])}" for name in moved)
    return [f"The defaults lie outside the space, so the first trial took the nearest point in it: {shown}."]


def _share(jobs: int) -> int | None:
    return max(free_cpus() // jobs, 1) if jobs > 1 else None
