"""The options that set a field of `TrainConfig`.

An option that is not given sets no field, so that the settings of the dataset and of the recipe apply.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any, get_args

from models.network.config import Activation, Normalization
from training.commands import options
from training.config import DEFAULT_SPLIT, ClassWeight, TrainConfig
from training.portfolio import CONFIGURATIONS
from training.recipes import (
    MAX_ONE_HOT,
    Engine,
    Initializer,
    Metric,
    Precision,
    Recipe,
    Regularization,
    Scaling,
    Schedule,
    Selection,
)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the options, in groups."""
    _add_network(parser)
    _add_inputs(parser)
    _add_learning(parser)


def settings_of(arguments: argparse.Namespace, *, apart: Collection[str] = ()) -> dict[str, Any]:
    """Returns the fields that were given on the command line.

    Args:
        arguments: parsed options.
        apart: options of the command that have the name of a field, and another meaning.
    """
    names = (name for name in TrainConfig.setting_names() if name not in apart)
    return {name: getattr(arguments, name) for name in names if hasattr(arguments, name)}


def add_metric(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the metric that a run is for; a search has its own option of this name."""
    group = parser.add_argument_group("the aim")
    group.add_argument(
        "--metric",
        help="what the run is for (loss, smoothing, activation, best epoch and decision follow it; poisson is for "
        "counts, gamma for durations and amounts, bernoulli for columns of 0 and 1 and for shares): "
        + ", ".join(get_args(Metric)),
        default=argparse.SUPPRESS,
        **_choice(Metric),
    )
    add_quantile(group)


def add_quantile(group: argparse._ArgumentGroup) -> None:
    """Adds the option of the metric `quantile` to a group of options."""
    group.add_argument(
        "--quantile",
        help="share of values below the answers, with --metric quantile",
        type=float,
        metavar="Q",
        default=argparse.SUPPRESS,
    )


def hyphenated(text: str) -> str:
    """Returns the name of a metric; figures are spelled with underscores, as in `log_loss`."""
    return text.replace("_", "-")


def _group(parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
    group = parser.add_argument_group(title)

    def add(option: str, text: str, **how: Any) -> None:
        group.add_argument(option, help=text, default=argparse.SUPPRESS, **how)

    return add


def _choice(literal: Any) -> dict[str, Any]:
    return {"choices": get_args(literal), "metavar": "NAME"}


def _add_network(parser: argparse.ArgumentParser) -> None:
    add = _group(parser, "the network (defaults: the recipe's)")
    add(
        "--recipe", "default, strong on most tables; or classic: BatchNorm, dropout, He, Adam", choices=get_args(Recipe)
    )
    add(
        "--engine",
        "torch; numpy, from scratch; perceptron, for two classes; or linear (default: torch)",
        choices=get_args(Engine),
    )
    add(
        "--linear",
        "a linear model, without hidden layers: logistic or ridge regression; short for --engine linear",
        dest="engine",
        action="store_const",
        const="linear",
    )
    add(
        "--members",
        "networks trained side by side and served as one, by their mean (default: 1)",
        type=int,
        metavar="K",
    )
    add(
        "--folds",
        "each of the members learns from all rows but its own fold, which validates it; with --members",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--portfolio",
        f"trains the folds with {len(CONFIGURATIONS)} configurations that differ in learning rate, dropout, decay and "
        "smoothing, and serves a weighted mean of those that out-of-fold answers choose; with --folds",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--hidden",
        "widths of the hidden layers, or none (default: 256,256,256; classic 64,64)",
        dest="hidden_sizes",
        type=options.widths,
        metavar="N,N,…",
    )
    add(
        "--distill",
        "train one more network on the answers of the members, and serve it in their place; with --members",
        action=argparse.BooleanOptionalAction,
    )
    add("--activation", f"{', '.join(get_args(Activation))}", **_choice(Activation))
    add("--dropout", "share of hidden units dropped (default: 0.15; classic 0.2)", type=float, metavar="P")
    add("--normalization", f"{', '.join(get_args(Normalization))}", **_choice(Normalization))
    add("--initialization", f"{', '.join(get_args(Initializer))}: fitted to the rows", **_choice(Initializer))
    add("--no-bias", "Linear layers without bias", dest="bias", action="store_false")
    add(
        "--learned-activation",
        "each hidden unit learns how much of its activation it takes",
        action=argparse.BooleanOptionalAction,
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    add = _group(parser, "its inputs (defaults: the recipe's)")
    add(
        "--scaling",
        "scaling of numbers: standard, or robust (median and inter-quartile range)",
        choices=get_args(Scaling),
    )
    add("--clip-inputs", "where scaled numbers are smoothly clipped, or none", type=options.number_or_none, metavar="C")
    add("--frequencies", "waves of each number's periodic embedding, 0 for none", type=int, metavar="N")
    add(
        "--embedding-size",
        f"features that a column of more than {MAX_ONE_HOT} categories becomes; 0 for one feature per category",
        type=int,
        metavar="N",
    )
    add(
        "--category-statistics",
        f"give each category of a column of more than {MAX_ONE_HOT} its mean target and its count besides",
        action=argparse.BooleanOptionalAction,
    )
    add("--scale-inputs", "a learned scale for each feature", action=argparse.BooleanOptionalAction)


def _add_learning(parser: argparse.ArgumentParser) -> None:
    add = _group(parser, "learning (defaults: the recipe's)")
    add("--optimizer", "adamw or adam for torch; sgd for numpy", choices=("adamw", "adam", "sgd"))
    add(
        "--learning-rate",
        "highest learning rate (default: 0.04, of regressions 0.2; classic 0.001)",
        type=float,
        metavar="RATE",
    )
    add("--schedule", "course of the learning rate: " + ", ".join(get_args(Schedule)), **_choice(Schedule))
    add("--parametrization", "standard, or ntk: weights divided by √inputs", choices=("standard", "ntk"))
    add("--beta2", "Adam's memory of squared gradients", type=float, metavar="B")
    add(
        "--weight-decay",
        "decay of the matrices; with ntk of all but biases (default: 0.02; classic 0)",
        type=float,
        metavar="W",
    )
    add(
        "--regularization",
        "dropout and decay: constant, or flat_cosine (falling to 0 from the middle on)",
        choices=get_args(Regularization),
    )
    add("--label-smoothing", "share of a label for all classes (default: 0.1; classic 0)", type=float, metavar="E")
    add(
        "--class-weight",
        "balanced lets rows of rare classes count more, so that classes count alike (default: none)",
        choices=get_args(ClassWeight),
    )
    add(
        "--drop-categories",
        "share of categories that read as unknown in training (default: 0.02)",
        type=float,
        metavar="P",
    )
    add("--clip-norm", "longest gradient, or none", type=options.number_or_none, metavar="NORM")
    add(
        "--batch-size",
        "rows a step (default: 256; classic a power of two near a 32nd of the training rows, 16 to 1024)",
        type=int,
        metavar="ROWS",
    )
    add(
        "--drop-last",
        "each epoch leaves out the rows that do not fill a batch",
        action=argparse.BooleanOptionalAction,
    )
    add("--epochs", "passes over the training part, at most (default: 256; classic 200)", type=int, metavar="N")
    add(
        "--rows-per-epoch",
        "rows that an epoch learns from, other ones in each (default: all of the training part)",
        type=int,
        metavar="ROWS",
    )
    add(
        "--epoch-plan",
        "epochs planned after so many done, to repeat a run within a budget that changed its plan",
        type=options.epoch_plan,
        metavar="DONE:EPOCHS,…",
    )
    add(
        "--patience",
        "epochs without a new best before stopping, or none (default: none; classic 30)",
        type=options.whole_or_none,
        metavar="N",
    )
    add(
        "--select-by",
        "what the best epoch has least of on the validation part, or last for the last epoch: "
        + ", ".join(get_args(Selection)),
        **_choice(Selection),
    )
    add(
        "--calibrate",
        "fit a temperature and shifts by class to the validation part: probabilities are honest (default: yes)",
        action=argparse.BooleanOptionalAction,
    )
    add("--precision", "precision of matrix products in training (default: float32)", choices=get_args(Precision))
    add("--clamp", "keep a regression's answers within the range of training", action=argparse.BooleanOptionalAction)
    add(
        "--split",
        f"shares of train/validation/test, or none: all rows for each (default: {options.shown_shares(DEFAULT_SPLIT)})",
        type=options.shares,
        metavar="A/B/C",
    )
    add("--seed", "seed of the split, the weights, the order of rows and dropout (default: 0)", type=int, metavar="N")
