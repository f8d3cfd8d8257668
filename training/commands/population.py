"""`search --population`: trains a population on a table and publishes the winner."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from models.errors import ConfigError
from models.model_version import ModelVersion
from models.open_store import open_store
from training.commands import options
from training.commands.publishing import Candidate, Publication
from training.commands.settings import settings_of
from training.commands.table import table_of
from training.engines.engine import Epoch
from training.errors import PlotError
from training.interrupt import stopping_on_interrupt
from training.kept_model import KeptModel
from training.plotting.plot_file import write_plot
from training.progress import progress
from training.report import print_table
from training.reporting.files import write_report
from training.reporting.served import compare_with_served
from training.search.population.plot import draw_population
from training.search.population.result import PopulationResult
from training.search.population.tables import final_ranking_table, sentences
from training.search.ranking import settings_for
from training.search.trials.folder import StudyFolder
from training.sources import read_table
from training.task_change import with_task_change
from training.terminal import plain_console

PLOT, RECORD = "population.svg", "population.json"

# Options that only a search by trials has, by their names among the parsed options.
_OF_TRIALS = ("trials", "sampler", "pruner", "vary", "space", "grid_points", "jobs")


def check_alone(arguments: argparse.Namespace) -> None:
    """Refuses options that belong to the other kind of search.

    Raises:
        ConfigError: options of a search by trials are given with a population, or --every without a population.
    """
    if arguments.population is None:
        if arguments.every is not None:
            raise ConfigError("--every is of a population: it goes with --population.")
        return
    for name in _OF_TRIALS:
        if getattr(arguments, name):
            option = name.replace("_", "-")
            raise ConfigError(f"--{option} is of a search by trials, and --population has none: leave one of them out.")
    if hasattr(arguments, "select_by"):
        raise ConfigError("a population is ranked by --metric, and so is its best epoch: leave out --select-by.")


def run_population(arguments: argparse.Namespace) -> int:
    """Runs `search --population` and returns the exit code."""
    errors = plain_console(stderr=True, quiet=arguments.quiet)
    publication = Publication.of(arguments, errors)
    publication.try_out()
    given = settings_for(settings_of(arguments, apart=("metric",)), arguments.metric)
    table, config = read_table(arguments.source, name=arguments.name, settings=given, **table_of(arguments))
    # Imported here: importing torch takes seconds.
    from training.search.population.search import search_population

    with StudyFolder(arguments.folder, arguments.study or table.name) as folder:
        with stopping_on_interrupt(partial(_tell_stopping, errors)) as stop:
            with progress(errors, table.name) as show:

                def on_epoch(epoch: Epoch) -> None:
                    stop.has_result()
                    show(epoch)

                result = search_population(
                    table,
                    config,
                    members=arguments.population,
                    every=arguments.every,
                    metric=arguments.metric,
                    timeout=arguments.timeout,
                    device=arguments.device,
                    threads=arguments.threads,
                    on_epoch=on_epoch,
                    should_stop=stop,
                )
            with stop.held():  # reading the store may take long, and the model is in memory only
                result = replace(result, model=with_task_change(result.model, open_store(arguments.store)))
            outcome = publication.conclude(_candidate(result), stop)
        record = result.to_json() | {"model": outcome.published and str(outcome.published)} | outcome.to_dict()
        text = json.dumps(record, indent=2, allow_nan=False)
        _write_record(errors, result, text, folder.path)
        _report(errors, result, outcome.place)
    if arguments.json:
        print(text)
    elif not arguments.quiet:
        _tell(result, folder.path)
    publication.tell(outcome)
    if not arguments.json:
        print(outcome.last_line())
    return outcome.exit_code


def _tell_stopping(errors: Console) -> None:
    # Not through the console: the signal may have interrupted its printing.
    if not errors.quiet:
        os.write(2, b"\nEnding after this epoch and keeping the best so far; press Ctrl-C again to end at once.\n")


def _candidate(result: PopulationResult) -> Candidate:
    model = result.model
    return Candidate(
        checkpoint=model.checkpoint,
        interrupted=f"after epoch {result.run.epochs:,}",
        compare=lambda served: compare_with_served(model.checkpoint, model.table, model.split, served),
    )


def _write_record(errors: Console, result: PopulationResult, text: str, path: Path) -> None:
    try:
        (path / RECORD).write_text(text + "\n", encoding="utf-8")
        write_plot(partial(draw_population, result), path / PLOT, size=(11.0, 4.4))
    except (OSError, PlotError) as error:
        errors.print(f"warning: the record in {path} is incomplete: {error}.", markup=False, soft_wrap=True)


def _report(errors: Console, result: PopulationResult, place: ModelVersion | KeptModel) -> None:
    """Writes the winner's report and card beside its checkpoint."""
    try:
        write_report(result.model, place)
    except Exception as error:
        # Any error: the model is on the disk, so a missing page is no reason to fail.
        reason = f"{error.strerror}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        errors.print(f"warning: {place} has no report: {reason}.", markup=False, soft_wrap=True)


def _tell(result: PopulationResult, path: Path) -> None:
    print_table(final_ranking_table(result))
    if result.model.threads is not None:
        print(result.model.threads)
    for sentence in sentences(result):
        print(sentence)
    metrics = result.model.metrics["test"]
    shown = [options.shown_figure(*figure) for figure in metrics.items() if figure[0] != "targets"]
    print(f"The winner on the test part: {', '.join(shown)}.")
    print(f"The record is in {path}: {RECORD}, {PLOT}.")
