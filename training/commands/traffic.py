"""`split` and `shadow`: divide an alias's requests among versions, and try a version on copies of requests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from models.alias_file import DEFAULT_ALIAS
from models.alias_target import target_text
from models.errors import AxonError, InvalidName
from models.model_store import ModelStore
from models.open_store import open_store
from models.store_entry import Reference
from training.commands.options import CommandLine

_SPLIT = """\
Divides the requests to NAME among versions, by weights that add up to 100 (or to 1):

    axon split flowers 3=90 4=10 --alias production

A running server follows within AXON_RELOAD_SECONDS, once it has loaded all of the versions. Requests with a header
X-Axon-Sticky, such as the id of a user, always get the version that their value stands for; changed weights move only
as many values as they have to. promote and rollback end a split. docs/changing-models.md has the rest.
"""

_SHADOW = """\
Sends a copy of the requests to NAME to another version, behind the answer:

    axon shadow flowers@4 --alias production --share 20

The version's answers are compared with those that were returned, and are never returned themselves. GET /models and the
metrics axon_shadow_rows_total and axon_shadow_difference have the results. A shadow takes only time that the workers
have left: copies that do not fit are dropped and counted. docs/changing-models.md has the rest.
"""


def add(line: CommandLine) -> None:
    """Adds the commands."""
    split = line.add("split", "divide a name's requests among versions", _split, description=_SPLIT)
    line.add_store(split)
    split.add_argument("name", metavar="NAME", help="the model")
    split.add_argument(
        "weights", metavar="VERSION=WEIGHT", nargs="+", help="a version and its share of the requests, such as 4=10"
    )
    split.add_argument("--alias", default=DEFAULT_ALIAS, help="the alias to split (default: what NAME alone means)")
    shadow = line.add("shadow", "copy a name's requests to a version, and compare", _shadow, description=_SHADOW)
    line.add_store(shadow)
    shadow.add_argument("model", metavar="NAME@VERSION", help="the shadow; with --remove, NAME alone")
    shadow.add_argument(
        "--alias", default=DEFAULT_ALIAS, help="the alias whose requests are copied (default: what NAME alone means)"
    )
    shadow.add_argument("--share", type=float, default=100, help="percentage of the requests (default: all)")
    shadow.add_argument("--remove", action="store_true", help="end the shadow of the alias")


def _split(arguments: argparse.Namespace) -> None:
    name, alias = arguments.name, arguments.alias
    weights = _weights(arguments.weights)
    store = open_store(arguments.store)
    had_default = DEFAULT_ALIAS in store.entry(name).aliases
    split = store.split(name, alias, weights)
    _warn_of_other_columns(store, name, split.versions)
    if alias == DEFAULT_ALIAS and not had_default:
        print(
            f"New versions do not answer to {name} any more until they are promoted; alias {name} default --remove "
            "ends that.",
            file=sys.stderr,
        )
    print(f"{_called(name, alias)} is {target_text(name, split)}")


def _shadow(arguments: argparse.Namespace) -> None:
    reference, alias = Reference.parse(arguments.model), arguments.alias
    store, called = open_store(arguments.store), _called(reference.name, alias)
    if arguments.remove:
        store.remove_shadow(reference.name, alias)
        print(f"{called} has no shadow")
        return
    if reference.version is None and reference.alias is None:
        raise InvalidName(
            f"{arguments.model!r} names no version: a shadow is NAME@VERSION, or NAME@latest for the newest."
        )
    version = store.resolve(arguments.model)
    store.set_shadow(version.name, alias, version.version, arguments.share)
    main = store.resolve(version.name if alias == DEFAULT_ALIAS else called)
    _warn_of_other_columns(store, version.name, (main.version, version.version))
    print(f"{called} has the shadow {version}, for {arguments.share:g} % of the requests")


def _weights(given: Sequence[str]) -> dict[int, Any]:
    """Returns the weights by version.

    Raises:
        InvalidName: a text is not a version and a weight, or a version is there twice.
    """
    weights: dict[int, Any] = {}
    for text in given:
        version, _, weight = text.partition("=")
        try:
            if not version.isdecimal() or int(version) in weights:
                raise ValueError
            weights[int(version)] = Decimal(weight.removesuffix("%"))
        except (ValueError, InvalidOperation):
            raise InvalidName(
                f"{text[:80]!r} is not VERSION=WEIGHT, such as 4=10, or names a version for the second time."
            ) from None
    return weights


def _warn_of_other_columns(store: ModelStore, name: str, versions: Iterable[int]) -> None:
    """Warns if the versions differ in the names of their columns or in their classes."""
    seen: dict[int, tuple[list[Any], Any]] = {}
    for version in versions:
        try:
            header = store.version(name, version).read_header()
            columns = [column["name"] for column in header["columns"]]
            seen[version] = columns, header["target"].get("labels")
        except (AxonError, KeyError, TypeError, AttributeError):
            continue  # the server says what is wrong with the version
    (first, facts), *others = seen.items() if seen else [(0, ([], None))]
    for version, other in others:
        if other != facts:
            what = "columns" if other[0] != facts[0] else "classes"
            print(
                f"warning: {name}@{version} has other {what} than {name}@{first}: a request that fits one of them may "
                "be refused or answered differently by the other.",
                file=sys.stderr,
            )


def _called(name: str, alias: str) -> str:
    return name if alias == DEFAULT_ALIAS else f"{name}@{alias}"
