"""`search`: many settings tried on one table, the best published."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from functools import partial
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from models.config import Task
from models.errors import ConfigError, StoreError
from models.store import Store
from training.commands import options
from training.commands.options import CommandLine
from training.commands.population import check_alone, run_population
from training.commands.settings import add_settings, settings_of
from training.commands.table import add_table, table_of
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.interrupt import stopping_on_interrupt
from training.plotting.plot_file import write_plot
from training.report import print_table
from training.reporting.evaluation import evaluation_of
from training.reporting.files import write_report, write_text
from training.reporting.restored import restored
from training.search.default_spaces import default_space
from training.search.display import displayed
from training.search.folder import StudyFolder
from training.search.plots import draw_search
from training.search.result import SearchResult
from training.search.run import search_table
from training.search.search_page import search_page
from training.search.space import Parameter, SearchSpace
from training.search.space_text import read_space_file, read_variation
from training.search.strategies import Pruner, Sampler
from training.search.tables import importance_table, ranking_table, sentences
from training.search.trial import Metric, choose_metric
from training.sources import read_table

DEFAULT_FOLDER = "searches"
PAGE = "search.html"
# Not argparse's, so that one can tell what was asked for: a population has none of them.
_DEFAULTS: dict[str, Any] = {"trials": 50, "sampler": "tpe", "pruner": "median", "grid_points": 5, "jobs": 1}

_DESCRIPTION = """\
Tries many settings on one table and publishes the model of the best.

Each trial trains on the same rows and is judged on the same validation part; the first trains the defaults. The test
part's figure is read once, of the winner. A search keeps its record in a folder, and the same command goes on from it.

With --population no trials are made: K networks train side by side, each with a learning rate and dropout of its own,
and every few epochs the worst go on as copies of the best, with these a little changed (Jaderberg et al. 2017).
"""

_EPILOG = """\
what varies:
  By default the space of the recipe, without what an option of the network or of learning fixes. With --vary or
  --space only what they name varies; --vary default adds the recipe's space.
  --vary learning_rate=1e-4..1e-1:log     a range, spread by its logarithm
  --vary dropout=0..0.5                   a range
  --vary 'hidden_sizes=64,64|128,128'     a choice; quoted, for | means something to a shell
  --space space.toml                      learning_rate = "1e-4..1e-1:log", or {low = 1e-4, high = 0.1, log = true};
                                          activation = ["relu", "gelu"]; JSON likewise

examples:
  python -m training search flowers.csv --target species --trials 50
  python -m training search flowers.csv --target species --trials 200 --jobs 8 --timeout 3600
  python -m training search iris --sampler grid --vary dropout=0..0.4 --vary 'activation=relu|tanh'
  python -m training search flowers.csv --target species --population 16 --every 20

FOLDER/NAME/ has study.db (the record, SQLite, as Optuna reads it), the best trial's checkpoint, search.json and
search.svg; of a population it has population.json and population.svg. Ctrl-C ends the search and publishes the best so
far; pressed again, it ends at once and publishes nothing.
The last line on standard output is `published NAME@VERSION`.
Exit codes: 0 done, 2 refused (one sentence says why), 130 interrupted.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add(
        "search", "try many settings and publish the best", _run, description=_DESCRIPTION, epilog=_EPILOG
    )
    line.add_store(parser)
    parser.add_argument("source", metavar="SOURCE", help="a built-in dataset, or a file, as in fit")
    parser.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    parser.add_argument("--no-publish", action="store_true", help="publish nothing")
    parser.add_argument("--quiet", action="store_true", help="no progress and no tables")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of tables and last line")
    _add_search(parser)
    add_table(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    run.add_argument("--jobs", type=options.counted, metavar="N", help="trials at a time, as processes (default: 1)")
    line.add_device(run)
    line.add_threads(run)


def _add_search(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the search")
    group.add_argument("--trials", type=options.counted, metavar="N", help="in all, with those on record (default: 50)")
    group.add_argument("--timeout", type=float, metavar="SECONDS", help="end after so long with the best so far")
    group.add_argument("--sampler", choices=get_args(Sampler), help="what chooses the points (default: tpe)")
    group.add_argument("--pruner", choices=get_args(Pruner), help="what ends a lagging trial (default: median)")
    group.add_argument(
        "--metric", choices=get_args(Metric), help="on the validation part (default: log_loss, for numbers rmse)"
    )
    group.add_argument("--vary", metavar="NAME=VALUES", action="append", default=[], help="what varies: see below")
    group.add_argument("--space", type=Path, metavar="FILE", help="what varies, as JSON or TOML")
    group.add_argument("--grid-points", type=options.counted, metavar="N", help="of each range, in a grid (default: 5)")
    group.add_argument("--study", metavar="NAME", help="the record's name (default: the model's)")
    group.add_argument(
        "--folder", metavar="FOLDER", default=DEFAULT_FOLDER, help=f"of all studies (default: {DEFAULT_FOLDER})"
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
        help="from one selection in the population to the next (default: a tenth of the run)",
    )


def _run(arguments: argparse.Namespace) -> None:
    check_alone(arguments)
    if arguments.population is not None:
        run_population(arguments)
        return
    for name, default in _DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
    options.use_threads(arguments)
    errors = Console(stderr=True, quiet=arguments.quiet)
    given = settings_of(arguments)
    table, config = read_table(arguments.source, name=arguments.name, settings=given, **table_of(arguments))
    config = config.for_table(table)
    space = _space(arguments, config, table.task, fixed=tuple(given))
    metric = choose_metric(table, config, arguments.metric)

    def stopping() -> None:
        # Not through the console: the signal may have come in the midst of its own printing.
        if not errors.quiet:
            os.write(2, b"\nEnding the search and keeping the best so far; press Ctrl-C again to end at once.\n")

    with StudyFolder(arguments.folder, arguments.study or table.name) as folder:
        with stopping_on_interrupt(stopping) as should_stop, displayed(errors, table.name, metric) as listener:
            result = search_table(
                table,
                config,
                space=space,
                trials=arguments.trials,
                timeout=arguments.timeout,
                sampler=arguments.sampler,
                pruner=arguments.pruner,
                metric=metric,
                grid_points=arguments.grid_points,
                jobs=arguments.jobs,
                threads=arguments.threads,
                device=arguments.device,
                folder=folder,
                listener=listener,
                should_stop=should_stop,
            )
        published = None if arguments.no_publish else _publish(result, folder, Path(arguments.store))
        record = result.to_json() | {"model": published}
        (folder.path / "search.json").write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        write_plot(partial(draw_search, result), folder.path / "search.svg")
        _write_pages(errors, result, table, folder, published, Path(arguments.store))
    _tell(arguments, result, record, folder.path)


def _space(arguments: argparse.Namespace, config: TrainConfig, task: Task, *, fixed: tuple[str, ...]) -> SearchSpace:
    """What varies, by the options."""
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


def _publish(result: SearchResult, folder: StudyFolder, store: Path) -> str:
    """Publishes the winner, unless this study has published the same into the same store before."""
    note = folder.path / "published.json"
    place = {"trial": result.winner.number, "store": str(store.resolve()), "name": result.name}
    with contextlib.suppress(OSError, ValueError, KeyError, StoreError):
        before = json.loads(note.read_text(encoding="utf-8"))
        if all(before[name] == value for name, value in place.items()):
            return str(Store(store).resolve(f"{result.name}@{before['version']}"))  # it may have been deleted since
    published = result.publish(store)
    note.write_text(json.dumps({**place, "version": published.version}) + "\n", encoding="utf-8")
    return str(published)


def _write_pages(
    errors: Console,
    result: SearchResult,
    table: TrainingTable,
    folder: StudyFolder,
    published: str | None,
    store: Path,
) -> None:
    """Writes the search's page, and the winner's report and card beside what is published."""
    try:
        model = restored(result.checkpoint, table)
        evaluation = evaluation_of(model)
        write_text(folder.path / PAGE, search_page(result, model, evaluation, reference=published))
        if published is not None:
            write_report(model, Store(store).resolve(published), evaluation=evaluation)
    except Exception as error:
        # Whatever it is: the search is over and its winner is kept, and a page is not worth failing for.
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
            print(sentence)
        test = result.checkpoint.metrics["test"]
        shown = [options.shown_figure(name, value) for name, value in test.items() if isinstance(value, int | float)]
        print(f"The winner on the test part: {', '.join(shown)}.")
        print(f"The record is in {path}: {PAGE}, search.json, search.svg, study.db.")
    if record["model"] is not None:
        print(f"published {record['model']}")
