"""`search --storage` and `search --worker`: the options, the leader's plan, and the command of a worker."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from models.errors import ConfigError
from training.commands.table import table_of
from training.config import TrainConfig
from training.data.training_table import TrainingTable
from training.datasets import DATASETS
from training.errors import SearchError
from training.interrupt import StopRequest, stopping_on_interrupt
from training.metrics import MetricFigure
from training.recipes import task_of_metric
from training.search.machines.plan import Plan, shared_source
from training.search.machines.storage_address import StorageAddress, read_address
from training.search.space import SearchSpace
from training.search.trials.display import displayed
from training.search.trials.folder import StudyFolder
from training.search.trials.result import SearchResult
from training.search.trials.run import identity_of
from training.search.trials.session import Listener
from training.sources import read_table
from training.terminal import plain_console

if TYPE_CHECKING:
    from training.search.machines.run import Machine, Shift

_HEARTBEAT_SECONDS = 10.0

# Options that a worker takes; all others are stored with the study, or belong to the process that publishes.
_OF_WORKERS = (
    "source", "storage", "worker", "study", "jobs", "threads", "device", "timeout", "quiet", "test",
)  # fmt: skip
_NO_OPTIONS = ("command", "line", "parser", "run", "begun")


def add_machines(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a search over machines."""
    group = parser.add_argument_group("several machines (docs/search-machines.md)")
    group.add_argument(
        "--storage",
        metavar="ADDRESS",
        help="a record that machines share: journal:PATH in a shared folder, or postgresql://USER@HOST/DATABASE",
    )
    group.add_argument(
        "--worker",
        action="store_true",
        help="train trials of the search in --storage, which another machine began; SOURCE only where its path differs",
    )
    group.add_argument(
        "--heartbeat",
        type=float,
        metavar="SECONDS",
        help=f"between signs of life; a worker that misses six is lost (default: {_HEARTBEAT_SECONDS:g})",
    )


def check_machines(arguments: argparse.Namespace) -> None:
    """Refuses options that do not go together.

    Raises:
        ConfigError: an option of a search over machines is given without --storage, with a population, or to a worker
            although it belongs to the leader.
    """
    if arguments.storage is None:
        for option in ("worker", "heartbeat"):
            if getattr(arguments, option):
                raise ConfigError(f"--{option} goes with --storage, the record that the machines share.")
    elif arguments.population is not None:
        raise ConfigError("a population trains on one machine: leave out --storage or --population.")
    else:
        read_address(arguments.storage)  # so that a wrong one is refused before a large table is read
    if not arguments.worker:
        if arguments.source is None:
            raise ConfigError("name what to train on: a built-in dataset or a file.")
        return
    for name, value in vars(arguments).items():
        is_given = value != arguments.parser.get_default(name)
        if is_given and name not in (*_OF_WORKERS, *_NO_OPTIONS):
            raise ConfigError(
                f"--{name.replace('_', '-')} is not for a worker, which takes it from the search's first command: "
                "leave it out."
            )


def search_over_machines(
    arguments: argparse.Namespace,
    table: TrainingTable,
    config: TrainConfig,
    *,
    space: SearchSpace,
    metric: MetricFigure,
    folder: StudyFolder,
    listener: Listener,
    stop: StopRequest,
) -> SearchResult:
    """Leads the search that the options describe, and returns its result."""
    # Imported here: Optuna imports SQLAlchemy and more, which most commands do not need.
    from training.search.machines.run import check_heartbeat, lead

    errors = plain_console(stderr=True, quiet=arguments.quiet)
    reading = table_of(arguments)
    if "test" in reading:
        reading["test"] = shared_source(reading["test"])
    plan = Plan(
        name=table.name,
        source=shared_source(arguments.source),
        table=reading,
        config=config,
        space=space,
        metric=metric,
        sampler=arguments.sampler,
        pruner=arguments.pruner,
        grid_points=arguments.grid_points,
        heartbeat=check_heartbeat(_HEARTBEAT_SECONDS if arguments.heartbeat is None else arguments.heartbeat),
        identity=identity_of(table, config, space, metric),
    )
    return lead(
        table,
        plan,
        address=read_address(arguments.storage),
        study=arguments.study or table.name,
        trials=arguments.trials,
        folder=folder,
        machine=_machine(arguments, listener, stop, errors),
    )


def run_worker(arguments: argparse.Namespace) -> int:
    """Runs `search --worker` and returns the exit code."""
    from training.search.machines.run import work

    errors = plain_console(stderr=True, quiet=arguments.quiet)
    address = read_address(arguments.storage)
    with stopping_on_interrupt(partial(_tell_leaving, errors)) as stop:
        # Even before its first epoch is over, a trial is handed to others at once, and not found to be lost later.
        stop.has_result()
        shift = work(
            partial(_table_of_plan, arguments),
            address=address,
            study=arguments.study,
            machine=_machine(arguments, Listener(), stop, errors),
            joined=partial(_joined, errors, address),
        )
    if not arguments.quiet:
        _say(errors, _end_sentence(shift, has_left=stop()))
    print(f"trained {shift.trained} of {shift.of} trials")
    return stop.exit_code


def _machine(arguments: argparse.Namespace, listener: Listener, stop: StopRequest, errors: Console) -> Machine:
    from training.search.machines.run import Machine

    if arguments.timeout is not None and not arguments.timeout > 0:
        raise ConfigError(f"timeout must be more than 0 seconds, got {arguments.timeout!r}.")
    return Machine(
        device=arguments.device,
        jobs=arguments.jobs or 1,
        threads=arguments.threads,
        timeout=arguments.timeout,
        listener=listener,
        should_stop=stop,
        tell=partial(_say, errors),
    )


def _table_of_plan(arguments: argparse.Namespace, plan: Plan) -> TrainingTable:
    """Reads the table of a plan, from this machine's own path if one is given."""
    reading = dict(plan.table)
    if arguments.test is not None:
        reading["test"] = arguments.test
    reading["task"] = reading.get("task") or task_of_metric(plan.config.metric)
    source = arguments.source or plan.source
    if arguments.source is None and source not in DATASETS and not _exists(source):
        raise SearchError(f"the search was begun on {source}, which is not on this machine: name the table as SOURCE.")
    table, _ = read_table(source, name=plan.name, settings={}, **reading)
    return table


def _exists(source: str) -> bool:
    return Path(source).exists() or any(sign in source for sign in "*?")


@contextlib.contextmanager
def _joined(errors: Console, address: StorageAddress, study: str, plan: Plan) -> Iterator[Listener]:
    _say(errors, f"working on the search {study!r} in {address.shown}")
    with displayed(errors, plan.name, plan.metric) as listener:
        yield listener


def _end_sentence(shift: Shift, *, has_left: bool) -> str:
    if has_left or (shift.ended == "time" and shift.done < shift.of):
        return f"This worker leaves; {shift.done} of {shift.of} trials are done."
    if shift.ended == "asked":
        return f"The search was ended by its first command; {shift.done} of {shift.of} trials are done."
    return f"The search is over: {shift.done} trials are done. Its first command publishes the winner."


def _say(errors: Console, line: str) -> None:
    errors.print(line, soft_wrap=True, markup=False, highlight=False)


def _tell_leaving(errors: Console) -> None:
    # Not through the console: the signal may have interrupted its printing.
    if not errors.quiet:
        os.write(
            2, b"\nLeaving the search after this epoch; others train the trial again. Ctrl-C again ends at once.\n"
        )
