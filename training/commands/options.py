"""The shared parts of the commands' options: common options, parsers of values, and sources of defaults."""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from models.errors import ConfigError
from training.budget import parse_budget
from training.data.split import Shares
from training.program import PROGRAM, program

DEFAULT_STORE = "checkpoints"


class Runner(Protocol):
    """A function that runs a command with its parsed options."""

    def __call__(self, arguments: argparse.Namespace) -> int | None:
        """Runs the command and returns the exit code, None for 0; raises an `AxonError` to refuse an input."""


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """The command line under construction.

    Attributes:
        commands: collection of commands of the argparse parser.
        environment: variables of the process; AXON_STORE and AXON_DEVICE are the defaults of two options.
    """

    commands: Any
    environment: Mapping[str, str]

    def add(
        self, name: str, about: str, run: Runner, *, description: str | None = None, epilog: str | None = None
    ) -> argparse.ArgumentParser:
        """Adds a command and returns its parser.

        Args:
            name: name of the command.
            about: line in the list of commands.
            run: function that runs the command.
            description: first paragraph of the command's help; `about` as a sentence if None.
            epilog: last paragraph of the command's help.
        """
        parser: argparse.ArgumentParser = self.commands.add_parser(
            name,
            help=about,
            description=filled(description or f"{about[0].upper()}{about[1:]}."),
            epilog=None if epilog is None else filled(epilog.replace(PROGRAM, program())),
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.set_defaults(run=run, parser=parser)
        return parser

    def add_store(self, parser: argparse.ArgumentParser) -> None:
        """Adds the option `--store`."""
        parser.add_argument(
            "--store",
            metavar="STORE",
            default=self.environment.get("AXON_STORE") or DEFAULT_STORE,
            help=f"the folder or bucket of models (default: AXON_STORE, else {DEFAULT_STORE})",
        )

    def add_device(self, parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
        """Adds the option `--device`."""
        parser.add_argument(
            "--device",
            default=self.environment.get("AXON_DEVICE") or "auto",
            help="auto, cpu, cuda, cuda:1, … (default: AXON_DEVICE, else auto: CUDA where there is one)",
        )

    def add_threads(
        self,
        parser: argparse.ArgumentParser | argparse._ArgumentGroup,
        *,
        about: str = "CPU threads (default: 1 for small networks; for large ones what is fastest of the free CPUs)",
    ) -> None:
        """Adds the option `--threads`."""
        parser.add_argument("--threads", type=threads, metavar="N", help=about)


def filled(text: str) -> str:
    """Wraps paragraphs to the terminal's width; lists and examples, which have indented lines, stay unchanged."""
    width = min(shutil.get_terminal_size().columns, 120) - 2
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(
        paragraph if re.search(r"^ ", paragraph, re.MULTILINE) else textwrap.fill(paragraph, width)
        for paragraph in paragraphs
    )


def shown_shares(shares: Shares) -> str:
    """Formats shares in percent: 70/15/15."""
    return "/".join(f"{100 * share:g}" for share in shares)


def shown_figure(name: str, value: float) -> str:
    """Formats a figure with its name: `accuracy 0.9565`, `30 rows`."""
    return f"{value:,} {name}" if isinstance(value, int) else f"{name} {value:.4f}"


def whole_or_none(text: str) -> int | None:
    """Parses a whole number, or `none`."""
    try:
        return None if text == "none" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number or none is expected, got {text!r}") from None


def number_or_none(text: str) -> float | None:
    """Parses a number, or `none`."""
    try:
        return None if text == "none" else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a number or none is expected, got {text!r}") from None


def widths(text: str) -> tuple[int, ...]:
    """Parses the widths of layers, or `none`."""
    try:
        return () if text == "none" else tuple(int(width) for width in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"widths such as 64,64 are expected, or none; got {text!r}") from None


def shares(text: str) -> Shares | None:
    """Parses the shares of train, validation and test, as fractions or in percent, or `none`."""
    if text == "none":
        return None
    try:
        given = [float(share) for share in text.split("/")]
        unit = 100 if sum(given) > 3 else 1  # three fractions whose sum is wrong are told as they were typed
        train, validation, test = (share / unit for share in given)
    except ValueError:
        raise argparse.ArgumentTypeError(f"shares such as 70/15/15 are expected, or none; got {text!r}") from None
    return (train, validation, test)


def epoch_plan(text: str) -> tuple[tuple[int, int], ...]:
    """Parses a plan of epochs such as 0:200,12:150."""
    try:
        steps = [step.split(":") for step in text.split(",")]
        return tuple((int(done), int(planned)) for done, planned in steps)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a plan such as 0:200,12:150 is expected, got {text!r}") from None


def budget(text: str) -> str | float:
    """Parses a budget: a level, or seconds."""
    try:
        return parse_budget(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def date_format(text: str) -> tuple[str, str]:
    """Parses a column and the form of its dates."""
    column, _, form = text.rpartition("=")
    if not column:
        raise argparse.ArgumentTypeError(f"a column and its form are expected, such as when=%d/%m/%Y; got {text!r}")
    return column, form


def delimiter(text: str) -> str:
    r"""Parses a delimiter; `tab`, `\t`, `blank` and `space` are names of delimiters."""
    return {"tab": "\t", "\\t": "\t", "blank": " ", "blanks": " ", "space": " "}.get(text, text)


def whole(text: str) -> int:
    """Parses a whole number of at least 0."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"a whole number of at least 0 is expected, got {text!r}")
    return int(text)


def version(text: str) -> int:
    """Parses the version of a model."""
    return _counted(text, "a version (1, 2, 3, …)")


def threads(text: str) -> int:
    """Parses a number of threads."""
    return _counted(text, "a number of threads")


def counted(text: str) -> int:
    """Parses a count, a whole number of at least 1."""
    return _counted(text, "a whole number of at least 1")


def _counted(text: str, what: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{what} is expected, got {text!r}")
    return int(text)
