"""`search --population`: one population trained on one table, the winner published."""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path

from rich.console import Console

from models.errors import ConfigError
from training.commands import options
from training.commands.settings import settings_of
from training.commands.table import table_of
from training.interrupt import stopping_on_interrupt
from training.plotting.plot_file import write_plot
from training.progress import progress
from training.report import print_table
from training.search.folder import StudyFolder
from training.search.population_plot import draw_population
from training.search.population_result import PopulationResult
from training.search.population_tables import sentences, standings_table
from training.sources import read_table

PLOT, RECORD = "population.svg", "population.json"

# Options of a search by trials that a population has no use for, by their names among the parsed ones.
_OF_TRIALS = ("trials", "sampler", "pruner", "vary", "space", "grid_points", "jobs")


def check_alone(arguments: argparse.Namespace) -> None:
    """Refuses what does not go with the other.

    Raises:
        ConfigError: options of trials with a population, or of a population without one.
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


def run_population(arguments: argparse.Namespace) -> None:
    """Does what `search --population` asks for."""
    errors = Console(stderr=True, quiet=arguments.quiet)
    table, config = read_table(
        arguments.source, name=arguments.name, settings=settings_of(arguments), **table_of(arguments)
    )
    # Imported here: torch takes seconds.
    from training.search.population_search import search_population

    def stopping() -> None:
        # Not through the console: the signal may have come in the midst of its own printing.
        if not errors.quiet:
            os.write(2, b"\nEnding after this epoch and keeping the best so far; press Ctrl-C again to end at once.\n")

    with StudyFolder(arguments.folder, arguments.study or table.name) as folder:
        with stopping_on_interrupt(stopping) as should_stop, progress(errors, table.name) as on_epoch:
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
                should_stop=should_stop,
            )
        published = None if arguments.no_publish else str(result.publish(arguments.store))
        told = json.dumps(result.to_json() | {"model": published}, indent=2, allow_nan=False)
        (folder.path / RECORD).write_text(told + "\n", encoding="utf-8")
        write_plot(partial(draw_population, result), folder.path / PLOT, size=(11.0, 4.4))
    if arguments.json:
        print(told)
        return
    if not arguments.quiet:
        _tell(result, folder.path)
    if published is not None:
        print(f"published {published}")


def _tell(result: PopulationResult, path: Path) -> None:
    print_table(standings_table(result))
    if result.model.threads is not None:
        print(result.model.threads)
    for sentence in sentences(result):
        print(sentence)
    shown = [options.shown_figure(*figure) for figure in result.model.metrics["test"].items()]
    print(f"The winner on the test part: {', '.join(shown)}.")
    print(f"The record is in {path}: {RECORD}, {PLOT}.")
