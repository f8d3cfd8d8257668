"""A search by trials, from the table to the winner."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from models.checkpoint import Checkpoint
from models.errors import ConfigError
from models.network.config import Task
from models.store_entry import check_model_name
from training.config import TrainConfig, resolve_for_table
from training.data.training_table import TrainingTable
from training.engines.engine import ShouldStop
from training.errors import SearchError
from training.free_cpus import free_cpus
from training.metrics import MetricFigure
from training.search.default_spaces import default_space
from training.search.ranking import aim_of, settings_for, trial_figure
from training.search.space import SearchSpace, exact_label
from training.search.trials.folder import CheckpointStore, MemoryCheckpoints, StudyFolder
from training.search.trials.result import DEFAULTS, NEAREST, SearchResult
from training.search.trials.session import Listener, Session
from training.search.trials.trial import Trial, run_trial
from training.search.trials.worker import TrialSetup
from training.search.trials.worker_pool import WorkerPool
from training.sources import read_table

if TYPE_CHECKING:
    from training.data.column_choices import ColumnChoices
    from training.search.trials.search_record import SearchRecord


def search(
    source: Any,
    *,
    target: str | Sequence[str] | None = None,
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
    metric: str | None = None,
    quantile: float | None = None,
    space: SearchSpace | None = None,
    settings: Mapping[str, Any] | None = None,
    **how: Any,
) -> SearchResult:
    """Searches for the settings that fit a table best. Writes files only if `folder` is given.

    Args:
        source: name of a built-in dataset, a file, an Arrow table or a DataFrame, as in `fit`.
        target: column to predict, as in `fit`.
        name: name of the model, as in `fit`.
        task: `classification` or `regression`, as in `fit`.
        choices: decisions of the user about columns.
        delimiter: delimiter of a CSV file, as in `fit`.
        decimal: decimal mark of numbers in texts, as in `fit`.
        thousands: thousands mark of numbers in texts, as in `fit`.
        missing_values: values that stand for missing, as in `fit`.
        encoding: encoding of a CSV file, as in `fit`.
        skip_lines: number of lines before a CSV file's header, as in `fit`.
        comment: beginning of comment lines in a CSV file, as in `fit`.
        test: second table, whose rows are the test part, as in `fit`.
        metric: metric that the search is for, with the names and the meaning of `fit`: it decides settings of each
            trial, and its figure ranks them. If None, the recipe's own aim, ranked by log loss or RMSE.
        quantile: quantile that the models answer, for the metric `quantile`.
        space: search space; the recipe's own space without the fields of `settings` if None.
        settings: values of fields of `TrainConfig` that do not vary; they override a built-in dataset's own settings.
        how: other arguments of `search_table`.

    Raises:
        AxonError: same errors as `fit` and `search_table`.
    """
    given = settings_for({**(settings or {}), **({} if quantile is None else {"quantile": quantile})}, metric)
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
        settings=given,
    )
    return search_table(table, config, metric=metric, space=space, fixed=tuple(settings or ()), **how)


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
    """Searches for the settings that fit a table best, by training and ranking trials.

    The first trial trains the settings of `config`, so the winner is never worse than these; if the space does not have
    these settings, the first trial trains the nearest of the space. All trials train on the
    same rows and are evaluated on the same rows. The test part is used only to evaluate the winner after the search.

    Args:
        table: table to train on, read and checked.
        config: settings of the first trial; the fields that do not vary apply to every trial.
        space: search space; the recipe's own space if None.
        fixed: names of fields that the recipe's own space leaves out.
        trials: total number of trials, those on the folder's record included.
        timeout: time limit in seconds; trials that still run then are ended, and count only if no other has finished.
        sampler: `tpe`, `gp`, `random`, `qmc` or `grid`.
        pruner: `median`, `hyperband` or `none`.
        metric: metric of `config`, or if the engine is not torch one of `log-loss`, `accuracy`, `rmse` and `r2`; None
            for the metric of `config`, else log loss or RMSE.
        grid_points: number of points of each range in a grid.
        jobs: number of trials at the same time; if above 1, each runs in its own process.
        threads: number of CPU threads of each trial; if None, the number that `fit` would choose, at most a job's share
            of the free CPUs.
        device: name of the torch device to train on.
        folder: folder for the record and the best checkpoint; an earlier search on its record is resumed.
        listener: callbacks for the progress of the search.
        should_stop: callback after each epoch; True ends the search like the time limit.

    Raises:
        ConfigError: an argument is not valid, or the folder's study is about another table or space.
        SearchError: every trial failed, or workers cannot be started.
    """
    for what, count in (("trials", trials), ("jobs", jobs), ("grid_points", grid_points)):
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ConfigError(f"{what} must be a whole number of at least 1, got {count!r}.")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be more than 0 seconds, got {timeout!r}.")
    check_model_name(table.name)
    config = config or resolve_for_table(settings_for({}, metric), table)
    if config.folds:
        raise ConfigError("the trials of a search are compared on one validation part, and have no folds (--folds).")
    if config.distill:
        raise ConfigError("the trials of a search are trained once: fit the winner's settings with --distill.")
    space = space or default_space(config, task=table.task, fixed=fixed)
    chosen = trial_figure(table, config, metric)
    first = space.nearest(config)
    with contextlib.ExitStack() as stack:
        # Imported here: Optuna imports SQLAlchemy and more, which most commands do not need.
        from training.search.trials.search_record import SearchRecord

        record = SearchRecord(
            space=space,
            metric=chosen,
            first_point=first,
            sampler=sampler,  # type: ignore[arg-type]  # `SearchRecord` refuses unknown names
            pruner=pruner,  # type: ignore[arg-type]
            epochs=config.epochs,
            grid_points=grid_points,
            seed=config.seed,
            file=folder.record_file if folder is not None else None,
            identity=identity_of(table, config, space, chosen),
        )
        stack.callback(record.close)
        checkpoints: CheckpointStore = folder if folder is not None else MemoryCheckpoints()
        session = Session(
            record=record,
            checkpoints=checkpoints,
            metric=chosen,
            trials=trials,
            jobs=jobs,
            timeout=timeout,
            should_stop=should_stop,
            listener=listener or Listener(),
        )
        setup = TrialSetup(
            table=table,
            config=config,
            metric=chosen,
            device=device,
            threads=threads,
            most_threads=share_of(jobs) if threads is None else None,
        )
        if jobs == 1:
            _run_in_this_process(session, setup)
        elif not session.is_over():
            stack.enter_context(pool := WorkerPool(setup, jobs=jobs))
            pool.run(session)
        return search_result(session, record, checkpoints, setup, notes=moved_defaults_notes(space, config, first))


def search_result(
    session: Session, record: SearchRecord, checkpoints: CheckpointStore, setup: TrialSetup, *, notes: Sequence[str]
) -> SearchResult:
    """Returns the result of a session that has ended; trains the winner again if its checkpoint is missing.

    Args:
        session: session that has ended.
        record: record of the search.
        checkpoints: store of the winner's checkpoint.
        setup: arguments that all trials share.
        notes: sentences for the user.

    Raises:
        SearchError: no trial finished.
    """
    trials = record.trials()
    winner = _winner(session, trials)
    notes = [*notes, *setup.table.notes]
    checkpoint = checkpoints.load(winner.number)
    if checkpoint is None:
        session.listener.on_again(winner)
        checkpoint, now = _trained_again(setup, winner)
        checkpoints.save(winner.number, checkpoint)
        notes.append(
            f"Trial {winner.number}'s checkpoint was not on this machine: it was trained again, with {session.metric} "
            f"{now:.4g} on the validation part after {winner.value:.4g} before."
        )
    return SearchResult(
        name=setup.table.name,
        metric=session.metric,
        space=record.space,
        trials=tuple(trials),
        winner=winner,
        first=NEAREST if record.space.moved(setup.config) else DEFAULTS,
        checkpoint=checkpoint,
        importances=record.importances(),
        ended=session.ended,
        seconds=session.seconds,
        notes=tuple(notes),
    )


def _run_in_this_process(session: Session, setup: TrialSetup) -> None:
    while (point := session.next()) is not None:
        number = point.number
        outcome = run_trial(
            setup.table,
            replace(setup.config, **point.settings),
            metric=setup.metric,
            device=setup.device,
            on_epoch=lambda epoch, number=number: session.epoch(number, epoch),  # type: ignore[misc]
            should_stop=lambda number=number: session.must_end(number),  # type: ignore[misc]
            threads=setup.threads,
        )
        session.done(number, outcome)


def _winner(session: Session, trials: list[Trial]) -> Trial:
    if (winner := session.best()) is not None:
        return winner
    failed = [trial for trial in trials if trial.state == "failed"]
    if failed:
        raise SearchError(f"none of {len(trials)} trials came to a model; the first failed: {failed[0].reason}")
    raise SearchError("the search ended before its first trial did: there is no model.")


def _trained_again(setup: TrialSetup, winner: Trial) -> tuple[Checkpoint, float]:
    """Returns checkpoint and figure of the winner from another training."""
    outcome = run_trial(
        setup.table,
        replace(setup.config, **winner.settings),
        metric=setup.metric,
        device=setup.device,
        on_epoch=lambda epoch: None,
        should_stop=lambda: False,
        threads=setup.threads,
    )
    if outcome.checkpoint is None or outcome.value is None:
        raise SearchError(f"trial {winner.number} won, but trained again it came to nothing: {outcome.reason}")
    return outcome.checkpoint, outcome.value


def identity_of(table: TrainingTable, config: TrainConfig, space: SearchSpace, metric: MetricFigure) -> dict[str, str]:
    """Returns fingerprints of everything that comparable trials share, by the name used in an error message."""
    common = {name: value for name, value in config.to_dict().items() if name not in space.parameters}
    return {
        "table": table.fingerprint(),
        # Before space and settings, which the metric decides in part: the first difference is told.
        "metric": aim_of(config, metric),
        "search space": _digest(space.to_json()),
        "set of fixed settings": _digest({"settings": common, "columns": repr(table.choices)}),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def moved_defaults_notes(space: SearchSpace, config: TrainConfig, first: Mapping[str, Any]) -> list[str]:
    """Returns a sentence if the defaults lie outside the space and the first trial took other settings."""
    if not (moved := space.moved(config)):
        return []
    shown = ", ".join(f"{name} {exact_label(getattr(config, name))} → {exact_label(first[name])}" for name in moved)
    return [f"The defaults lie outside the space, so the first trial took the nearest point in it: {shown}."]


def share_of(jobs: int) -> int | None:
    """Returns a job's share of the free CPUs; None for a job that is alone."""
    return max(free_cpus() // jobs, 1) if jobs > 1 else None
