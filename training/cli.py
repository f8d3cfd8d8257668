"""The command line: arguments → training and the store → what a person or a script reads. The one place that prints."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from models.errors import AxonError, InvalidName
from models.store import Reference, Store
from models.summary import summarize
from training.arguments import build_parser, settings_of
from training.datasets import DEMO
from training.fit import FittedModel, fit
from training.interrupt import stopping_on_interrupt
from training.progress import progress
from training.report import headline, metrics_table, model_record, models_table, result
from training.training_table import ColumnChoices

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130  # as a shell reports a process that SIGINT ended

_UNLIMITED = 10_000  # columns for a table that goes to a file or a pipe, where nothing needs to be wrapped


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: without the program's name; those of the process if None.

    Returns:
        The exit code: 0, 2 where something was refused, 130 where the user interrupted.
    """
    parsed = build_parser().parse_args(arguments)
    try:
        _COMMANDS[parsed.command](parsed)
    except AxonError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_REFUSED
    except KeyboardInterrupt:
        print("interrupted: nothing more was published.", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _fit(arguments: argparse.Namespace) -> None:
    if arguments.threads is not None:
        _set_threads(arguments.threads)
    errors = Console(stderr=True, quiet=arguments.quiet)
    settings = settings_of(arguments)
    model = _fit_with_progress(
        errors,
        arguments.source,
        target=arguments.target,
        name=arguments.name,
        task=arguments.task,
        choices=ColumnChoices(
            categorical=tuple(arguments.categorical),
            numeric=tuple(arguments.numeric),
            drop=tuple(arguments.drop),
            unknown=arguments.unknown,
            keep_constant=arguments.keep_constant,
        ),
        delimiter=arguments.delimiter,
        device=arguments.device,
        **settings,
    )
    published = model.publish(arguments.store)
    if arguments.json:
        print(json.dumps(result(model, published), indent=2, allow_nan=False))
        return
    if not arguments.quiet:
        _print_table(metrics_table(model))
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


def _demo(arguments: argparse.Namespace) -> None:
    store = Store(arguments.store)
    if arguments.if_empty and store.entries():
        print(f"{store.root} holds models already: nothing to do")
        return
    for name in DEMO:
        model = fit(name, device=arguments.device)
        published = model.publish(store)
        print(f"published {published} ({model.table.task}, test {headline(model.table.task, model.metrics['test'])})")


def _list(arguments: argparse.Namespace) -> None:
    store = Store(arguments.store)
    records = [model_record(store, entry) for entry in store.entries()]
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif records:
        _print_table(models_table(records))
    else:
        print(f"{store.root} holds no model.")


def _summary(arguments: argparse.Namespace) -> None:
    store = Store(arguments.store)
    version = store.resolve(arguments.model)
    checkpoint = store.load(str(version)).checkpoint
    summary = summarize(checkpoint.config, title=str(version))
    match arguments.format:
        case "json":
            print(json.dumps(summary.to_dict(), indent=2))
        case "mermaid":
            print(summary.to_mermaid())
        case _:
            print(summary.to_text())


def _alias(arguments: argparse.Namespace) -> None:
    store = Store(arguments.store)
    if arguments.remove == (arguments.version is not None):
        raise InvalidName("give the version that the alias shall mean, or --remove, and not both.")
    if arguments.remove:
        store.remove_alias(arguments.name, arguments.alias)
        print(f"removed {arguments.name}@{arguments.alias}")
    else:
        store.set_alias(arguments.name, arguments.alias, arguments.version)
        print(f"{arguments.name}@{arguments.alias} is {arguments.name}@{arguments.version}")


def _delete(arguments: argparse.Namespace) -> None:
    reference = Reference.parse(arguments.model)
    if reference.version is None:
        raise InvalidName(f"{arguments.model!r} names no version: what is deleted is NAME@VERSION.")
    Store(arguments.store).delete(reference.name, reference.version)
    print(f"deleted {reference.name}@{reference.version}")


def _print_table(table: Table) -> None:
    Console(width=None if sys.stdout.isatty() else _UNLIMITED).print(table)


def _set_threads(threads: int) -> None:
    # Imported here: most commands need no torch, which takes seconds to import.
    import torch

    torch.set_num_threads(threads)


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {
    "fit": _fit,
    "demo": _demo,
    "list": _list,
    "summary": _summary,
    "alias": _alias,
    "delete": _delete,
}
