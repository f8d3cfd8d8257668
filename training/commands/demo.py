"""`demo`: trains the models that the README's examples use, and a linear model beside two of these."""

from __future__ import annotations

import argparse

from models.model_store import ModelStore
from models.open_store import open_store
from training.commands.options import CommandLine
from training.datasets import BESIDE, DEMO
from training.fit import fit
from training.fitted_model import FittedModel
from training.report import headline


def add(line: CommandLine) -> None:
    """Adds the command."""
    names = [*DEMO, *(_name_beside(name) for name in BESIDE)]
    about = f"Trains {', '.join(names)} and publishes them, one line each."
    parser = line.add("demo", "train the demo models", _run, description=about)
    line.add_store(parser)
    parser.add_argument("--if-empty", action="store_true", help="do nothing where the store holds a model already")
    line.add_device(parser)


def _run(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.store)
    if arguments.if_empty and store.entries():
        print(f"{store.address} holds models already: nothing to do")
        return
    store.try_publishing(DEMO[0])
    for name in DEMO:
        _publish(fit(name, device=arguments.device), store, name)
    for name, engine in BESIDE.items():
        _publish(fit(name, engine=engine), store, _name_beside(name))


def _publish(model: FittedModel, store: ModelStore, name: str) -> None:
    published = model.publish(store, name)
    print(f"published {published} ({model.table.task}, test {headline(model.table.task, model.metrics['test'])})")


def _name_beside(name: str) -> str:
    """Returns the name of the model without hidden layers, such as `xor-perceptron`."""
    return f"{name}-{BESIDE[name]}"
