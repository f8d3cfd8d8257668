"""`fit`: a table → a model, published as the next version of its name."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, get_args

from rich.console import Console

from models.config import Activation, Initialization, Normalization
from training.commands import options
from training.commands.options import CommandLine
from training.config import DEFAULT_SPLIT, Engine, TrainConfig
from training.data.csv_file import MISSING
from training.data.training_table import MAX_NUMBERED_CLASSES, ColumnChoices
from training.datasets import DATASETS
from training.fit import FittedModel, fit
from training.interrupt import stopping_on_interrupt
from training.progress import progress
from training.report import metrics_table, print_table, result

_DATASET_LINES = "\n".join(f"  {entry.name:<14} {entry.about}" for entry in DATASETS.values())

_DESCRIPTION = f"""\
Trains a model on a table and publishes it to the store as the next version of its name.

Columns of numbers are numeric and standardised; strings and true/false are categorical and one-hot. Missing are
empty cells and {", ".join(cell for cell in MISSING if cell)}. The target's kind decides the task: strings, true/false
and up to {MAX_NUMBERED_CLASSES} different whole numbers are classes, other numbers a regression. All statistics are
those of the training part.
"""

_EPILOG = f"""\
built-in datasets:
{_DATASET_LINES}

examples:
  python -m training fit iris
  python -m training fit flowers.csv --target species
  python -m training fit houses.parquet --target price --drop id --categorical postcode --hidden 128,64
  python -m training fit xor --engine perceptron
  python -m training fit flowers.csv --target species --json --quiet

The last line on standard output is `published NAME@VERSION`; progress goes to standard error. Ctrl-C ends the run
after the present epoch and publishes the best so far; pressed again, it ends at once and publishes nothing.
A built-in dataset has settings of its own, which the options here override.
Exit codes: 0 published, 2 refused (one sentence says why), 130 interrupted.
"""


def add(line: CommandLine) -> None:
    """Adds the command."""
    parser = line.add("fit", "train a model and publish it", _run, description=_DESCRIPTION, epilog=_EPILOG)
    line.add_store(parser)
    parser.add_argument("source", metavar="SOURCE", help="a built-in dataset, or a .csv, .tsv or .parquet file")
    parser.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    parser.add_argument("--quiet", action="store_true", help="no progress and no table")
    parser.add_argument("--json", action="store_true", help="the result as JSON in place of table and last line")
    add_table(parser)
    add_settings(parser)
    run = parser.add_argument_group("the run")
    line.add_device(run)
    line.add_threads(run)


def add_table(parser: argparse.ArgumentParser) -> None:
    """The options on how a table is read; `table_of` reads them."""
    table = parser.add_argument_group("the table")
    table.add_argument("--target", metavar="COLUMN", help="the column to predict; a built-in dataset has its own")
    table.add_argument("--task", choices=("classification", "regression"), help="default: by the target")
    for option, text in (
        ("--categorical", "read these as names"),
        ("--numeric", "read these as numbers"),
        ("--drop", "leave these out: identifiers"),
    ):
        table.add_argument(option, metavar="COLUMN", nargs="+", action="extend", default=[], help=text)
    table.add_argument("--keep-constant", action="store_true", help="keep features of one value, such as black pixels")
    table.add_argument(
        "--unknown",
        choices=("refuse", "ignore"),
        default="refuse",
        help="what serving does with a category that training did not see (default: %(default)s)",
    )
    table.add_argument(
        "--delimiter", type=options.delimiter, help="what divides a CSV file's cells (default: , ; or tab)"
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options that set a field of `TrainConfig`; `settings_of` reads them.

    Options that are not given leave no trace, so that a dataset's own settings and TrainConfig's defaults hold.
    """

    def setting(group: argparse._ArgumentGroup, option: str, text: str, **how: Any) -> None:
        group.add_argument(option, help=text, default=argparse.SUPPRESS, **how)

    network = parser.add_argument_group("the network")
    setting(
        network,
        "--engine",
        "torch; numpy, from scratch; or perceptron, for two classes (default: torch)",
        choices=get_args(Engine),
    )
    setting(
        network,
        "--hidden",
        "widths of the hidden layers, or none (default: 64,64)",
        dest="hidden_sizes",
        type=options.widths,
        metavar="N,N,…",
    )
    for option, literal, default in (
        ("--activation", Activation, "relu"),
        ("--normalization", Normalization, "none"),
        ("--initialization", Initialization, "he"),
    ):
        setting(network, option, options.choices_of(literal, default), choices=get_args(literal), metavar="NAME")
    setting(network, "--dropout", "share of hidden units dropped (default: 0)", type=float, metavar="P")
    setting(network, "--no-bias", "Linear layers without bias", dest="bias", action="store_false")

    learning = parser.add_argument_group("learning")
    setting(learning, "--optimizer", "adamw or adam for torch; sgd for numpy", choices=("adamw", "adam", "sgd"))
    setting(
        learning,
        "--learning-rate",
        "at the start of a half cosine down to 0 (default: 0.003; numpy 0.05)",
        type=float,
        metavar="RATE",
    )
    setting(learning, "--weight-decay", "on weights (default: 0.01 for adamw, else 0)", type=float, metavar="DECAY")
    setting(learning, "--clip-norm", "longest gradient (default: 1.0)", type=float, metavar="NORM")
    setting(
        learning,
        "--batch-size",
        "rows a step (default: a power of two near a 32nd of the training rows, 16 to 1024)",
        type=int,
        metavar="ROWS",
    )
    setting(learning, "--epochs", "passes over the training part, at most (default: 200)", type=int, metavar="N")
    setting(
        learning,
        "--patience",
        "epochs without a better validation loss before stopping, or none (default: 30)",
        type=options.whole_or_none,
        metavar="N",
    )
    setting(
        learning,
        "--split",
        f"shares of train/validation/test, or none: all rows for each (default: {options.shown_shares(DEFAULT_SPLIT)})",
        type=options.shares,
        metavar="A/B/C",
    )
    setting(learning, "--seed", "of split, weights, order and dropout (default: 0)", type=int, metavar="N")


def table_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments of `fit` that say how a table is read, as they were given on the command line."""
    return {
        "target": arguments.target,
        "task": arguments.task,
        "delimiter": arguments.delimiter,
        "choices": ColumnChoices(
            categorical=tuple(arguments.categorical),
            numeric=tuple(arguments.numeric),
            drop=tuple(arguments.drop),
            unknown=arguments.unknown,
            keep_constant=arguments.keep_constant,
        ),
    }


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TrainConfig` that were given on the command line."""
    return {name: getattr(arguments, name) for name in TrainConfig.setting_names() if hasattr(arguments, name)}


def _run(arguments: argparse.Namespace) -> None:
    options.use_threads(arguments)
    errors = Console(stderr=True, quiet=arguments.quiet)
    model = _fit_with_progress(
        errors,
        arguments.source,
        name=arguments.name,
        device=arguments.device,
        **table_of(arguments),
        **settings_of(arguments),
    )
    published = model.publish(arguments.store)
    if arguments.json:
        print(json.dumps(result(model, published), indent=2, allow_nan=False))
        return
    if not arguments.quiet:
        print_table(metrics_table(model))
        for note in model.notes:
            print(note)
    print(f"published {published}")


def _fit_with_progress(errors: Console, source: str, **arguments: Any) -> FittedModel:
    def stopping() -> None:
        # Not through the console: the signal may have come in the midst of its own printing.
        if not errors.quiet:
            os.write(
                2, b"\nStopping after this epoch and keeping the best so far; press Ctrl-C again to end at once.\n"
            )

    with stopping_on_interrupt(stopping) as should_stop, progress(errors, source) as on_epoch:
        return fit(source, on_epoch=on_epoch, should_stop=should_stop, **arguments)
