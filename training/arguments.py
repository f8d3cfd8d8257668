"""The command line as data: commands, options and what their texts mean. Nothing is done here."""

from __future__ import annotations

import argparse
import os
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, get_args

from models.config import Activation, Initialization, Normalization
from training.config import DEFAULT_SPLIT, Engine, TrainConfig
from training.csv_file import MISSING
from training.datasets import DATASETS, DEMO
from training.split import Shares
from training.training_table import MAX_NUMBERED_CLASSES

DEFAULT_STORE = "checkpoints"

_DATASET_LINES = "\n".join(f"  {entry.name:<14} {entry.about}" for entry in DATASETS.values())

_FIT_DESCRIPTION = f"""\
Trains a model on a table and publishes it to the store as the next version of its name.

Columns of numbers are numeric and standardised; strings and true/false are categorical and one-hot. Missing are
empty cells and {", ".join(cell for cell in MISSING if cell)}. The target's kind decides the task: strings, true/false
and up to {MAX_NUMBERED_CLASSES} different whole numbers are classes, other numbers a regression. All statistics are
those of the training part.
"""

_FIT_EXAMPLES = f"""\
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


def build_parser(environment: Mapping[str, str] = os.environ) -> argparse.ArgumentParser:
    """The parser of every command; `command` names the one chosen.

    Args:
        environment: where AXON_STORE and AXON_DEVICE are looked up, for options that are not given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train multi-layer perceptrons on tables, and look after the store that they are served from.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    store = argparse.ArgumentParser(add_help=False)
    store.add_argument(
        "--store",
        metavar="FOLDER",
        default=environment.get("AXON_STORE") or DEFAULT_STORE,
        help=f"the folder of models (default: AXON_STORE, else {DEFAULT_STORE})",
    )
    _add_fit(commands, store, environment)
    demo = _add(commands, "demo", "train the demo models", store)
    demo.description = f"Trains {', '.join(DEMO)} and publishes them, one line each."
    demo.add_argument("--if-empty", action="store_true", help="do nothing where the store holds a model already")
    _add_device(demo, environment)
    listing = _add(commands, "list", "list the models in the store", store)
    listing.add_argument("--json", action="store_true", help="as JSON")
    summary = _add(commands, "summary", "show a model's layers", store)
    summary.add_argument("model", metavar="MODEL", help="NAME, NAME@VERSION or NAME@ALIAS")
    summary.add_argument("--format", choices=("text", "json", "mermaid"), default="text", help="default: %(default)s")
    alias = _add(commands, "alias", "point an alias at a version", store)
    alias.add_argument("name", metavar="NAME", help="the model")
    alias.add_argument("alias", metavar="ALIAS", help="such as production; `default` is what NAME alone means")
    alias.add_argument("version", metavar="VERSION", type=_version, nargs="?", help="the version it shall mean")
    alias.add_argument("--remove", action="store_true", help="forget the alias")
    delete = _add(commands, "delete", "delete a version", store)
    delete.add_argument("model", metavar="NAME@VERSION", help="what to delete; its number is not given again")
    return parser


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `TrainConfig` that were given on the command line."""
    return {name: getattr(arguments, name) for name in TrainConfig.setting_names() if hasattr(arguments, name)}


def _add(commands: Any, name: str, about: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        parents=list(parents),
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def _add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup, environment: Mapping[str, str]) -> None:
    parser.add_argument(
        "--device",
        default=environment.get("AXON_DEVICE") or "auto",
        help="auto, cpu, cuda, cuda:1, … (default: AXON_DEVICE, else auto: CUDA where there is one)",
    )


def _add_fit(commands: Any, store: argparse.ArgumentParser, environment: Mapping[str, str]) -> None:
    fit = _add(commands, "fit", "train a model and publish it", store)
    fit.description, fit.epilog = _FIT_DESCRIPTION, _FIT_EXAMPLES
    fit.add_argument("source", metavar="SOURCE", help="a built-in dataset, or a .csv, .tsv or .parquet file")
    fit.add_argument("--name", help="the model's name (default: the dataset's or the file's)")
    fit.add_argument("--quiet", action="store_true", help="no progress and no table")
    fit.add_argument("--json", action="store_true", help="the result as JSON in place of table and last line")

    table = fit.add_argument_group("the table")
    table.add_argument("--target", metavar="COLUMN", help="the column to predict; a built-in dataset has its own")
    table.add_argument("--task", choices=("classification", "regression"), help="default: by the target")
    table.add_argument(
        "--categorical", metavar="COLUMN", nargs="+", action="extend", default=[], help="read these as names"
    )
    table.add_argument(
        "--numeric", metavar="COLUMN", nargs="+", action="extend", default=[], help="read these as numbers"
    )
    table.add_argument(
        "--drop", metavar="COLUMN", nargs="+", action="extend", default=[], help="leave these out: identifiers"
    )
    table.add_argument("--keep-constant", action="store_true", help="keep features of one value, such as black pixels")
    table.add_argument(
        "--unknown",
        choices=("refuse", "ignore"),
        default="refuse",
        help="what serving does with a category that training did not see (default: %(default)s)",
    )
    table.add_argument("--delimiter", type=_delimiter, help="what divides a CSV file's cells (default: , ; or tab)")

    # Options that are not given leave no trace, so that a dataset's own settings and TrainConfig's defaults hold.
    def setting(group: argparse._ArgumentGroup, option: str, text: str, **how: Any) -> None:
        group.add_argument(option, help=text, default=argparse.SUPPRESS, **how)

    network = fit.add_argument_group("the network")
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
        type=_hidden,
        metavar="N,N,…",
    )
    setting(network, "--activation", _choices(Activation, "relu"), choices=get_args(Activation), metavar="NAME")
    setting(network, "--dropout", "share of hidden units dropped (default: 0)", type=float, metavar="P")
    setting(
        network, "--normalization", _choices(Normalization, "none"), choices=get_args(Normalization), metavar="NAME"
    )
    setting(
        network, "--initialization", _choices(Initialization, "he"), choices=get_args(Initialization), metavar="NAME"
    )
    setting(network, "--no-bias", "Linear layers without bias", dest="bias", action="store_false")

    learning = fit.add_argument_group("learning")
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
        type=_patience,
        metavar="N",
    )
    setting(
        learning,
        "--split",
        f"shares of train/validation/test, or none: all rows for each (default: {_shown(DEFAULT_SPLIT)})",
        type=_split,
        metavar="A/B/C",
    )
    setting(learning, "--seed", "of split, weights, order and dropout (default: 0)", type=int, metavar="N")
    _add_device(learning, environment)
    learning.add_argument("--threads", type=_threads, metavar="N", help="of the CPU for torch (default: torch's own)")


def _choices(literal: Any, default: str) -> str:
    return textwrap.shorten(f"{', '.join(get_args(literal))} (default: {default})", 200)


def _shown(shares: Shares) -> str:
    return "/".join(f"{100 * share:g}" for share in shares)


def _or_none(text: str, read: Callable[[str], Any]) -> Any:
    return None if text == "none" else read(text)


def _patience(text: str) -> int | None:
    try:
        patience: int | None = _or_none(text, int)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number or none is expected, got {text!r}") from None
    return patience


def _hidden(text: str) -> tuple[int, ...]:
    try:
        return () if text == "none" else tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"widths such as 64,64 are expected, or none; got {text!r}") from None


def _split(text: str) -> Shares | None:
    if text == "none":
        return None
    try:
        shares = [float(share) for share in text.split("/")]
        train, validation, test = (share / (1 if sum(shares) <= 1 + 1e-6 else 100) for share in shares)
    except ValueError:
        raise argparse.ArgumentTypeError(f"shares such as 70/15/15 are expected, or none; got {text!r}") from None
    return (train, validation, test)


def _delimiter(text: str) -> str:
    return {"tab": "\t", "\\t": "\t"}.get(text, text)


def _version(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a version (1, 2, 3, …) is expected, got {text!r}")
    return int(text)


def _threads(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number of threads is expected, got {text!r}")
    return int(text)
