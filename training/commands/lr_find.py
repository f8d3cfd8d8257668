"""`lr-find`: suggests a learning rate for a network on a table, by a sweep over learning rates."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich import box
from rich.table import Table

from training.commands import options
from training.commands.options import CommandLine
from training.commands.settings import add_metric, add_settings, settings_of
from training.commands.table import add_table, table_of
from training.plotting.plot_file import check_plot_path, write_plot
from training.report import print_table
from training.search.learning_rate.finder import Sweep, sweep
from training.search.learning_rate.plot import draw_sweep
from training.sources import read_table
from training.threads import limited_threads

_LINES = 16  # approximate number of rows of the table

_DESCRIPTION = """\
Trains the network for some steps at learning rates that grow from --low to --high, and suggests one: that at which
the smoothed loss falls fastest over the logarithm of the rate (Smith 2017). The sweep ends where the loss is four
times its best. Nothing is kept of the steps, and nothing is published.
"""

_EPILOG = """\
example:
  python -m training lr-find flowers.csv --target species --plot rates.svg

A suggestion is where to begin, not the end: `fit --learning-rate RATE`, or `search --vary learning_rate=LOW..HIGH:log`
about it.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("lr-find", "find a learning rate", _run, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("source", metavar="SOURCE", help="a built-in dataset, or a file, as in fit")
    parser.add_argument("--low", type=float, default=1e-6, metavar="RATE", help="the first rate (default: 1e-6)")
    parser.add_argument("--high", type=float, default=10.0, metavar="RATE", help="the last rate (default: 10)")
    parser.add_argument("--steps", type=options.counted, default=150, metavar="N", help="at most (default: 150)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="loss over rate, as an .svg or .png")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of the table")
    add_table(parser)
    add_metric(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    line.add_device(run)
    line.add_threads(run)


def _run(arguments: argparse.Namespace) -> None:
    if arguments.plot is not None:
        check_plot_path(arguments.plot)
    given = settings_of(arguments)
    table, config = read_table(arguments.source, settings=given, **table_of(arguments))
    # Imported here: importing torch takes seconds.
    from training.search.learning_rate.trainer_stepper import stepper_of

    stepper = stepper_of(table, config, device=arguments.device, threads=arguments.threads)
    with limited_threads(stepper.threads.number):
        seen = sweep(stepper, low=arguments.low, high=arguments.high, steps=arguments.steps)
    if arguments.plot is not None:
        write_plot(partial(draw_sweep, seen, title=table.name), arguments.plot, size=(7.0, 4.2))
    if arguments.json:
        print(json.dumps(asdict(seen), indent=2, allow_nan=False))
        return
    print_table(_table(seen, table.name))
    if seen.diverged:
        print(f"The loss broke away at a learning rate of {seen.rates[-1]:.3g}.")
    if seen.suggested is None:
        print("The loss never fell: there is nothing to suggest. Try other rates (--low, --high) or more --steps.")
        return
    print(f"suggested learning rate {seen.suggested:.3g}, where the smoothed loss falls fastest over log(rate)")


def _table(seen: Sweep, name: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=f"{name}: loss over learning rate")
    for heading in ("rate", "loss", "smoothed"):
        table.add_column(heading, justify="right")
    table.add_column("")
    every = max(len(seen.rates) // _LINES, 1)
    shown = set(range(0, len(seen.rates), every))
    if seen.suggested is not None:
        shown.add(seen.rates.index(seen.suggested))
    for i in sorted(shown):
        mark = "← suggested" if seen.rates[i] == seen.suggested else ""
        table.add_row(f"{seen.rates[i]:.3g}", f"{seen.losses[i]:.4g}", f"{seen.smoothed[i]:.4g}", mark)
    return table
