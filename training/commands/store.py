"""`list`, `summary`, `alias` and `delete`: show and change the models and aliases of a store."""

from __future__ import annotations

import argparse
import json
import shutil
import sys

from models.errors import ConfigError, InvalidName
from models.network.architecture import Architecture
from models.network.config import MLPConfig, Output
from models.network.neuron_diagram import neuron_diagram
from models.network.summary import summarize
from models.open_store import open_store
from models.signing import trusted
from models.store_entry import Reference
from training.commands import options
from training.commands.options import CommandLine
from training.report import model_record, models_table, print_table


def add(line: CommandLine) -> None:
    """Adds the commands."""
    listing = line.add("list", "list the models in the store", _list)
    line.add_store(listing)
    listing.add_argument("--json", action="store_true", help="as JSON")
    summary = line.add("summary", "show a model's layers, or those of a network that is not trained", _summary)
    line.add_store(summary)
    summary.add_argument("model", metavar="MODEL", nargs="?", help="NAME, NAME@VERSION or NAME@ALIAS")
    summary.add_argument(
        "--layers",
        type=options.widths,
        metavar="N,N,…",
        help="in place of MODEL: the widths of a network, from input to output, such as 784,512,256,10; it is counted "
        "as softmax(Linear … ReLU … Linear), and one output as a regression's",
    )
    summary.add_argument(
        "--format",
        choices=("text", "json", "mermaid", "neurons"),
        default="text",
        help="mermaid draws a node a layer; neurons, for small networks, a node a neuron and an arrow a parameter "
        "(default: %(default)s)",
    )
    alias = line.add("alias", "point an alias at a version", _alias)
    line.add_store(alias)
    alias.add_argument("name", metavar="NAME", help="the model")
    alias.add_argument("alias", metavar="ALIAS", help="such as production; `default` is what NAME alone means")
    alias.add_argument("version", metavar="VERSION", type=options.version, nargs="?", help="what it shall mean")
    alias.add_argument("--remove", action="store_true", help="forget the alias")
    delete = line.add("delete", "delete a version", _delete)
    line.add_store(delete)
    delete.add_argument("model", metavar="NAME@VERSION", help="what to delete; its number is not given again")


def _list(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.store)
    records = [model_record(store, entry) for entry in store.entries()]
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif records:
        print_table(models_table(records))
    else:
        print(f"{store.address} holds no model.")


def _summary(arguments: argparse.Namespace) -> None:
    if (arguments.model is None) == (arguments.layers is None):
        raise ConfigError("give a MODEL of the store, or --layers such as 3,4,2, and not both.")
    if arguments.layers is not None:
        output: Output = "linear" if arguments.layers[-1:] == (1,) else "softmax"
        title, tensors = None, None
        config: Architecture = MLPConfig(layer_sizes=arguments.layers, output=output)
    else:
        version = open_store(arguments.store).resolve(arguments.model)
        checkpoint = trusted(version).load().checkpoint
        title, config, tensors = str(version), checkpoint.config, checkpoint.tensors
    match arguments.format:
        case "json":
            print(json.dumps(summarize(config, title=title).to_dict(), indent=2))
        case "mermaid":
            print(summarize(config, title=title).to_mermaid())
        case "neurons":
            print(neuron_diagram(config, title=title, tensors=tensors))
        case _:
            columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
            print(summarize(config, title=title).to_text(columns))


def _alias(arguments: argparse.Namespace) -> None:
    store = open_store(arguments.store)
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
    open_store(arguments.store).delete(reference.name, reference.version)
    print(f"deleted {reference.name}@{reference.version}")
