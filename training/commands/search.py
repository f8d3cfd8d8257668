"""`search`: tries many settings on one table and publishes the best model."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from models.checkpoint import Checkpoint, load_checkpoint
from models.errors import CheckpointError, ConfigError, StoreError
from models.model_version import ModelVersion
from models.network.config import Task
from models.open_store import open_store
from training.commands import options, publishing
from training.commands.machines import add_machines, check_machines, run_worker, search_over_machines
from training.commands.options import CommandLine
from training.commands.population import check_alone, run_population
from training.commands.publishing import Candidate, Outcome, Publication
from training.commands.settings import add_quantile, add_settings, hyphenated, settings_of
from training.commands.table import add_table, table_of
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.engines.engine import Epoch
from training.errors import PlotError
from training.interrupt import StopRequest, stopping_on_interrupt
from training.kept_model import KeptModel
from training.metrics import MetricFigure
from training.plotting.plot_file import write_plot
from training.prepared_rows import split_of
from training.recipes import Metric
from training.report import print_table
from training.reporting.evaluation import evaluation_of
from training.reporting.files import write_report, write_text
from training.reporting.restored import restored
from training.reporting.served import compare_with_served
from training.search.default_spaces import default_space
from training.search.machines.storage_address import read_address
from training.search.ranking import settings_for, trial_figure
from training.search.space import Parameter, SearchSpace
from training.search.space_text import read_space_file, read_variation
from training.search.trials.display import displayed
from training.search.trials.folder import StudyFolder
from training.search.trials.plots import draw_search
from training.search.trials.result import SearchResult
from training.search.trials.run import search_table
from training.search.trials.search_page import search_page
from training.search.trials.session import Listener, Progress
from training.search.trials.strategies import Pruner, Sampler
from training.search.trials.tables import importance_table, ranking_table, sentences
from training.search.trials.trial import Trial
from training.sources import read_table
from training.task_change import task_change
from training.terminal import plain_console, say

DEFAULT_FOLDER = "searches"
PAGE = "search.html"
# Not set by argparse, to distinguish explicit options from defaults: a population accepts none of these options.
_DEFAULTS: dict[str, Any] = {"trials": 50, "sampler": "tpe", "pruner": "median", "grid_points": 5, "jobs": 1}

_DESCRIPTION = """\
Tries many settings on one table and publishes the model of the best.

Each trial trains on the same rows and is judged on the same validation part; the first trains the defaults, or what is
nearest to them in the space. The test part is used once, to evaluate the winner. A search keeps its record in a folder,
and the same command goes on from it.

With --population no trials are made: K networks train side by side, each with a learning rate and dropout of its own,
and every few epochs the worst go on as copies of the best, with these a little changed (Jaderberg et al. 2017).
"""

_EPILOG = f"""\
what varies:
  By default the space of the recipe, without what an option of the network or of learning fixes. With --vary or
  --space only what they name varies; --vary default adds the recipe's space.
  --vary learning_rate=1e-4..1e-1:log     a range, spread by its logarithm
  --vary dropout=0..0.5                   a range
  --vary 'hidden_sizes=64,64|128,128'     a choice; quoted, for | means something to a shell
  --space space.toml                      learning_rate = "1e-4..1e-1:log", or {{low = 1e-4, high = 0.1, log = true}};
                                          activation = ["relu", "gelu"]; JSON likewise

examples:
  python -m training search flowers.csv --target species --trials 50
  python -m training search flowers.csv --target species --trials 200 --jobs 8 --timeout 3600
  python -m training search iris --sampler grid --vary dropout=0..0.4 --vary 'activation=relu|tanh'
  python -m training search flowers.csv --target species --population 16 --every 20

several machines, with a folder that all of them have, or a database:
  python -m training search flowers.csv --target species --trials 500 --storage journal:/shared/flowers.journal
  python -m training search --worker --storage journal:/shared/flowers.journal    on each further machine

FOLDER/NAME/ has study.db (the record, SQLite, as Optuna reads it), the best trial's checkpoint, search.json and
search.svg; of a population it has population.json and population.svg. Ctrl-C or SIGTERM ends the search and keeps the
best so far; before the first epoch is over, and by a second Ctrl-C, it ends at once.
The last line on standard output is `published NAME@VERSION` or `kept PATH`.

{publishing.EPILOG}
{publishing.EXIT_CODES}"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add(
        "search", "try many settings and publish the best", _run, description=_DESCRIPTION, epilog=_EPILOG
    )
    line.add_store(parser)
    parser.add_argument("source", metavar="SOURCE", nargs="?", help="a built-in dataset, or a file, as in fit")
    parser.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    publishing.add_publishing(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress and no tables")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of tables and last line")
    _add_search(parser)
    add_machines(parser)
    add_table(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    run.add_argument("--jobs", type=options.counted, metavar="N", help="trials at a time, as processes (default: 1)")
    line.add_device(run)
    line.add_threads(run)


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the search")
    group.add_argument(
        "--trials", type=options.counted, metavar="N", help="number of trials, with those in the record (default: 50)"
    )
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="end after so long with the best so far")
    group.add_argument("--sampler", choices=get_args(Sampler), help="what chooses the points (default: tpe)")
    group.add_argument("--pruner", choices=get_args(Pruner), help="what ends a lagging trial (default: median)")
    group.add_argument(
        "--metric",
        type=hyphenated,
        choices=get_args(Metric),
        metavar="NAME",
        help="what the trials train for and are ranked by, as in fit: "
        + ", ".join(get_args(Metric))
        + " (default: the "
        "recipe's aim, ranked by log-loss, for numbers rmse)",
    )
    add_quantile(group)
    group.add_argument("--vary", metavar="NAME=VALUES", action="append", default=[], help="what varies: see below")
    group.add_argument("--space", type=Path, metavar="FILE", help="what varies, as JSON or TOML")
    group.add_argument(
        "--grid-points", type=options.counted, metavar="N", help="number of grid points of each range (default: 5)"
    )
    group.add_argument("--study", metavar="NAME", help="the record's name (default: the model's)")
    group.add_argument(
        "--folder", metavar="FOLDER", default=DEFAULT_FOLDER, help=f"folder of all searches (default: {DEFAULT_FOLDER})"
    )
    group.add_argument(
        "--population",
        type=options.counted,
        metavar="K",
        help="no trials, but K networks side by side, the best copied",
    )
    group.add_argument(
        "--every",
        type=options.counted,
        metavar="EPOCHS",
        help="epochs between two rankings of the population (default: a tenth of the run)",
    )


def _run(arguments: argparse.Namespace) -> int:
    check_machines(arguments)
    check_alone(arguments)
    if arguments.worker:
        return run_worker(arguments)
    if arguments.population is not None:
        return run_population(arguments)
    for name, default in _DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    errors = plain_console(stderr=True, quiet=arguments.quiet)
    publication = Publication.of(arguments, errors)
    publication.try_out()
    chosen = settings_of(arguments, apart=("metric",))  # fixed, unlike what the metric decides
    given = settings_for(chosen, arguments.metric)
    table, config = read_table(arguments.source, name=arguments.name, settings=given, **table_of(arguments))
    space = _space(arguments, config, table.task, fixed=tuple(chosen))
    figure = trial_figure(table, config, arguments.metric)
    with StudyFolder(arguments.folder, arguments.study or table.name) as folder:
        with stopping_on_interrupt(partial(_tell_stopping, errors)) as stop:
            try:
                result = _search(arguments, table, config, space=space, figure=figure, folder=folder, stop=stop)
            except Exception as error:
                if folder.latest is None:
                    raise
                return _keep_best(publication, folder.latest, error, as_json=arguments.json)
            with stop.held():  # reading the store may take long
                change = task_change(open_store(arguments.store), table.name, table)
            if change is not None:
                result = replace(result, notes=(change, *result.notes))
            outcome = _conclude(publication, result, folder, stop, arguments=arguments, table=table, config=config)
        record = result.to_json() | {"model": outcome.published and str(outcome.published)} | outcome.to_dict()
        _write_record(errors, result, record, folder.path)
        _write_pages(errors, result, table, folder, outcome.published)
    _tell(arguments, result, record, folder.path)
    publication.tell(outcome)
    if not arguments.json:
        print(outcome.last_line())
    return outcome.exit_code


def _search(
    arguments: argparse.Namespace,
    table: TrainingTable,
    config: TrainConfig,
    *,
    space: SearchSpace,
    figure: MetricFigure,
    folder: StudyFolder,
    stop: StopRequest,
) -> SearchResult:
    errors = plain_console(stderr=True, quiet=arguments.quiet)
    with displayed(errors, table.name, figure) as shown:
        listener = _marking(shown, stop)
        if arguments.storage is not None:
            return search_over_machines(
                arguments, table, config, space=space, metric=figure, folder=folder, listener=listener, stop=stop
            )
        return search_table(
            table,
            config,
            space=space,
            trials=arguments.trials,
            timeout=arguments.timeout,
            sampler=arguments.sampler,
            pruner=arguments.pruner,
            metric=arguments.metric,
            grid_points=arguments.grid_points,
            jobs=arguments.jobs,
            threads=arguments.threads,
            device=arguments.device,
            folder=folder,
            listener=listener,
            should_stop=stop,
        )


def _keep_best(publication: Publication, latest: tuple[int, Checkpoint], error: BaseException, *, as_json: bool) -> int:
    """Keeps the best model of a search that failed, for example because the disk of its record is full."""
    number, checkpoint = latest
    while error.__cause__ is not None:  # SQLite's message says more than Optuna's
        error = error.__cause__
    reason = str(error).partition("\n")[0].removesuffix(".") or type(error).__name__
    outcome = publication.keep_for(checkpoint, f"The search broke off ({reason}); trial {number} was its best.")
    publication.tell(outcome)
    print(json.dumps({"model": None} | outcome.to_dict()) if as_json else outcome.last_line())
    return outcome.exit_code


def _tell_stopping(errors: Console) -> None:
    # Not through the console: the signal may have interrupted its printing.
    if not errors.quiet:
        os.write(2, b"\nEnding the search and keeping the best so far; press Ctrl-C again to end at once.\n")


def _marking(listener: Listener, stop: StopRequest) -> Listener:
    """Returns a listener that also tells the stop request as soon as the search has a model to keep."""

    def on_start(progress: Progress) -> None:
        if progress.best is not None:  # from an earlier session that this one resumes
            stop.has_result()
        listener.on_start(progress)

    def on_epoch(number: int, epoch: Epoch) -> None:
        stop.has_result()
        listener.on_epoch(number, epoch)

    def on_again(winner: Trial) -> None:
        stop.end_training()  # the winner trained in part is no winner, so a signal ends the process
        listener.on_again(winner)

    return replace(listener, on_start=on_start, on_epoch=on_epoch, on_again=on_again)


def _conclude(
    publication: Publication,
    result: SearchResult,
    folder: StudyFolder,
    stop: StopRequest,
    *,
    arguments: argparse.Namespace,
    table: TrainingTable,
    config: TrainConfig,
) -> Outcome:
    """Publishes the winner, unless this study has already published the same trial to the same store and name."""
    own = "" if folder.origin == "trial" else f"-{folder.origin}"
    note = folder.path / f"published{own}.json"
    place = {"trial": result.winner.number, "store": _address(arguments.store), "name": result.name}
    if arguments.publish != "never" and (before := _published_before(note, place, result.checkpoint)) is not None:
        was_ended = f"It was interrupted after {len(result.trials)} of {arguments.trials} trials." if stop() else ""
        return Outcome(place=before, why=was_ended, exit_code=stop.exit_code)
    file = folder.file_of(result.winner.number)
    outcome = publication.conclude(
        Candidate(
            checkpoint=result.checkpoint,
            interrupted=f"after {len(result.trials)} of {arguments.trials} trials",
            compare=lambda served: compare_with_served(result.checkpoint, table, split_of(table, config), served),
            kept=KeptModel(name=result.name, path=file) if _holds(file, result.checkpoint) else None,
        ),
        stop,
    )
    if outcome.published is not None:
        with contextlib.suppress(OSError):  # without the note, the same search publishes the winner again
            note.write_text(json.dumps({**place, "version": outcome.published.version}) + "\n", encoding="utf-8")
    return outcome


def _address(store: str) -> str:
    """Returns the address of a store, absolute for a folder."""
    opened = open_store(store)
    return opened.address if opened.folder is None else str(opened.folder.resolve())


def _published_before(note: Path, place: dict[str, Any], winner: Checkpoint) -> ModelVersion | None:
    """Returns the version as which the winner was published, if the store still has the winner there.

    Another model may have the number by now: in a store that was made anew, or after another search whose record is
    gone.
    """
    with contextlib.suppress(OSError, ValueError, KeyError, StoreError, CheckpointError):
        before = json.loads(note.read_text(encoding="utf-8"))
        if all(before[name] == value for name, value in place.items()):
            found = open_store(place["store"]).resolve(f"{place['name']}@{before['version']}")
            return found if _is_same(found.load().checkpoint, winner) else None
    return None


def _holds(file: Path, checkpoint: Checkpoint) -> bool:
    """Returns True if a file holds a checkpoint. The disk may have refused the file, or the file may be damaged."""
    with contextlib.suppress(CheckpointError):
        return _is_same(load_checkpoint(file).checkpoint, checkpoint)
    return False


def _is_same(one: Checkpoint, other: Checkpoint) -> bool:
    """Returns True if two checkpoints give the same answers."""
    return (one.config, one.schema, one.tensors.keys()) == (other.config, other.schema, other.tensors.keys()) and all(
        np.array_equal(tensor, other.tensors[name]) for name, tensor in one.tensors.items()
    )


def _write_record(errors: Console, result: SearchResult, record: dict[str, Any], path: Path) -> None:
    try:
        text = json.dumps(record, indent=2, allow_nan=False) + "\n"
        (path / "search.json").write_text(text, encoding="utf-8")
        write_plot(partial(draw_search, result), path / "search.svg")
    except (OSError, PlotError) as error:
        errors.print(f"warning: the record in {path} is incomplete: {error}.", markup=False, soft_wrap=True)


def _space(arguments: argparse.Namespace, config: TrainConfig, task: Task, *, fixed: tuple[str, ...]) -> SearchSpace:
    """Returns the search space that the options describe."""
    if not arguments.vary and arguments.space is None:
        return default_space(config, task=task, fixed=fixed)
    parameters: dict[str, Parameter] = {}
    if "default" in arguments.vary:
        parameters |= default_space(config, task=task, fixed=fixed).parameters
    if arguments.space is not None:
        parameters |= read_space_file(arguments.space)
    parameters |= dict(read_variation(text) for text in arguments.vary if text != "default")
    if both := sorted(set(parameters) & set(fixed)):
        raise ConfigError(f"{both[0]} cannot both vary and be fixed: leave one of the options out.")
    return SearchSpace(parameters=parameters)


def _write_pages(
    errors: Console,
    result: SearchResult,
    table: TrainingTable,
    folder: StudyFolder,
    published: ModelVersion | None,
) -> None:
    """Writes the page of the search and, if published, the winner's report and card beside the checkpoint."""
    try:
        model = restored(result.checkpoint, table)
        evaluation = evaluation_of(model)
        write_text(
            folder.path / PAGE,
            search_page(result, model, evaluation, reference=None if published is None else str(published)),
        )
        if published is not None:
            write_report(model, published, evaluation=evaluation)
    except Exception as error:
        # Any error: the search is over and its winner is kept, so a missing page is no reason to fail.
        reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        errors.print(f"warning: the search has no page: {reason}.", markup=False, soft_wrap=True)


def _tell(arguments: argparse.Namespace, result: SearchResult, record: dict[str, Any], path: Path) -> None:
    if arguments.json:
        print(json.dumps(record, indent=2, allow_nan=False))
        return
    if not arguments.quiet:
        print_table(ranking_table(result))
        if (importances := importance_table(result)) is not None:
            print_table(importances)
        for sentence in sentences(result):
            say(sentence)
        test = result.checkpoint.metrics["test"]
        shown = [options.shown_figure(name, value) for name, value in test.items() if isinstance(value, int | float)]
        say(f"The winner on the test part: {', '.join(shown)}.")
        if arguments.storage is None:
            print(f"The record is in {path}: {PAGE}, search.json, search.svg, study.db.")
        else:
            shared = read_address(arguments.storage).shown
            print(f"The record is in {shared}; {PAGE}, search.json and search.svg are in {path}.")
