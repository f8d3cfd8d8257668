"""`demo`: trains the models that the README's examples use."""

from __future__ import annotations

import argparse

from models.store import Store
from training.commands.options import CommandLine
from training.datasets import DEMO
from training.fit import fit
from training.report import headline


def add(line: CommandLine) -> None:
    """Adds the command."""
    about = f"Trains {', '.join(DEMO)} and publishes them, one line each."
    parser = line.add("demo", "train the demo models", _run, description=about)
    line.add_store(parser)
    parser.add_argument("--if-empty", action="store_true", help="do nothing where the store holds a model already")
    line.add_device(parser)


def _run(arguments: argparse.Namespace) -> None:
    store = Store(arguments.store)
    if arguments.if_empty and store.entries():
        print(f"{store.root} holds models already: nothing to do")
        return
    store.try_publishing(DEMO[0])
    for name in DEMO:
        model = fit(name, device=arguments.device)
        published = model.publish(store)
        print(f"published {published} ({model.table.task}, test {headline(model.table.task, model.metrics['test'])})")
