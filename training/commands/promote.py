"""`publish`, `promote` and `rollback`: publish a kept model, and change the version that a name stands for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from models.alias_file import DEFAULT_ALIAS
from models.alias_target import target_text
from models.checkpoint import load_checkpoint
from models.errors import InvalidName, StoreError
from models.open_store import open_store
from models.store import CHECKPOINT_FILE
from models.store_entry import Reference
from training.commands.options import CommandLine
from training.commands.publishing import still_means
from training.reporting.files import copy_pages

_PROMOTE = """\
Makes NAME mean a version from now on: the alias `default` is pointed at it. A running server follows within
AXON_RELOAD_SECONDS. With --alias it is another alias, such as production, that is pointed at the version.

While NAME has the alias `default`, versions that are published later do not answer to NAME until they are promoted;
`alias NAME default --remove` makes NAME mean the newest version again. docs/publishing.md has the rest.
"""

_ROLLBACK = """\
Makes NAME mean what it meant before, a version or a split; with --alias, another alias. Where NAME has no alias
`default`, it is the version before the newest. Repeated, it goes back further. docs/publishing.md has the rest.
"""


def add(line: CommandLine) -> None:
    """Adds the commands."""
    publish = line.add("publish", "publish a model that was kept on the disk", _publish)
    line.add_store(publish)
    publish.add_argument("path", metavar="PATH", type=Path, help=f"its {CHECKPOINT_FILE}, or the folder with it")
    publish.add_argument("--name", help="the model's name (default: the one that it was trained under)")
    promote = line.add("promote", "make a name mean a version", _promote, description=_PROMOTE)
    line.add_store(promote)
    promote.add_argument("model", metavar="NAME@VERSION", help="or NAME@ALIAS, such as flowers@latest")
    _add_alias(promote)
    rollback = line.add("rollback", "make a name mean its version before", _rollback, description=_ROLLBACK)
    line.add_store(rollback)
    rollback.add_argument("name", metavar="NAME", help="the model")
    _add_alias(rollback)


def _add_alias(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alias", default=DEFAULT_ALIAS, help="the alias to move (default: what NAME alone means)")


def _publish(arguments: argparse.Namespace) -> None:
    path: Path = arguments.path
    file = path / CHECKPOINT_FILE if path.is_dir() else path
    checkpoint = load_checkpoint(file).checkpoint
    name = arguments.name or checkpoint.data.get("name")
    if not isinstance(name, str):
        raise StoreError(f"{file} does not tell the model's name: give it (--name NAME).")
    store = open_store(arguments.store)
    published = store.publish(name, checkpoint)
    try:
        copy_pages(file, published)
    except (OSError, StoreError) as error:  # the model is published, so missing pages are no reason to fail
        reason = error.strerror if isinstance(error, OSError) else str(error).removesuffix(".")
        print(f"warning: {published} has no report: {reason}.", file=sys.stderr)
    if sentence := still_means(store, published):
        print(sentence, file=sys.stderr)
    print(f"published {published}")


def _promote(arguments: argparse.Namespace) -> None:
    reference = Reference.parse(arguments.model)
    if reference.version is None and reference.alias is None:
        raise InvalidName(
            f"{arguments.model!r} names no version: what is promoted is NAME@VERSION, or NAME@latest for the newest."
        )
    store = open_store(arguments.store)
    version = store.resolve(arguments.model)
    had_default = DEFAULT_ALIAS in store.entry(version.name).aliases
    store.set_alias(version.name, arguments.alias, version.version)
    if arguments.alias == DEFAULT_ALIAS and not had_default:
        _tell_pinned(version.name)
    print(f"{_called(version.name, arguments.alias)} is {version}")


def _rollback(arguments: argparse.Namespace) -> None:
    store, name = open_store(arguments.store), arguments.name
    had_default = DEFAULT_ALIAS in store.entry(name).aliases
    before, now = store.roll_back(name, arguments.alias)
    called = _called(name, arguments.alias)
    if arguments.alias == DEFAULT_ALIAS and not had_default:
        _tell_pinned(name)
    print(f"{called} is {target_text(name, now)}, and was {target_text(name, before)}")


def _called(name: str, alias: str) -> str:
    return name if alias == DEFAULT_ALIAS else f"{name}@{alias}"


def _tell_pinned(name: str) -> None:
    print(
        f"New versions do not answer to {name} any more until they are promoted; alias {name} default --remove ends "
        "that.",
        file=sys.stderr,
    )
