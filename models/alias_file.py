"""The aliases of one model and their history, as two JSON files in its folder.

`aliases.json` says what each alias means, a version or a split: `{"default": 1, "production": {"weights": {"1": 90,
"2": 10}}}`. `.alias-history.json` lists what each alias meant before, oldest first: `{"default": [2, 3]}`. Only
`Store.roll_back` reads the history, so a missing or damaged history changes no answer.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.alias_target import Target, target_from_json, target_to_json
from models.checkpoint import open_file
from models.errors import ConfigError
from models.links import is_link_out
from models.whole_file import write_whole

ALIASES_FILE = "aliases.json"
DEFAULT_ALIAS = "default"
LATEST = "latest"

_HISTORY_FILE = ".alias-history.json"
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}", re.ASCII)
_MAX_BYTES = 1 << 20
_MAX_STEPS = 100  # most entries in the history of one alias


def is_alias(text: str) -> bool:
    """Returns True if a text can be the alias of a reference, as `latest` can."""
    return _ALIAS.fullmatch(text) is not None


def read_aliases(folder: Path) -> tuple[dict[str, Target], str | None]:
    """Reads a model's aliases.

    Returns:
        Target by alias, and the reason why the aliases could not be read, or None.
    """
    content, problem = read_table(folder, ALIASES_FILE)
    aliases, fault = aliases_of(content, f"{folder.name}/{ALIASES_FILE}")
    return aliases, fault or problem


def aliases_of(content: Mapping[str, Any], called: str) -> tuple[dict[str, Target], str | None]:
    """Returns the aliases of a JSON object.

    Args:
        content: target by alias, as JSON types.
        called: name of the file or object, for the reason.

    Returns:
        Target by alias, and the reason why the object is not valid, or None.
    """
    aliases: dict[str, Target] = {}
    for alias, document in content.items():
        try:
            target = target_from_json(document)
        except ConfigError as error:
            if not isinstance(document, dict):
                return {}, f"{called} is not a table of alias to version."
            return {}, f"{called}: alias {alias[:80]!r}: {error}"
        # Only a name that a reference can have is an alias: "1" or "latest", by hand, would name another version.
        if is_alias(alias) and alias != LATEST:
            aliases[alias] = target
    return aliases, None


def write_aliases(folder: Path, aliases: Mapping[str, Target]) -> None:
    """Writes a model's aliases, atomically.

    Raises:
        OSError: The disk refuses the write.
    """
    write_table(folder, ALIASES_FILE, {alias: target_to_json(target) for alias, target in aliases.items()})


def read_history(folder: Path, alias: str) -> list[Target]:
    """Reads the earlier targets of an alias, oldest first; an empty list if the history cannot be read."""
    return history_of(read_table(folder, _HISTORY_FILE)[0], alias)


def history_of(content: Mapping[str, Any], alias: str) -> list[Target]:
    """Returns the earlier targets of an alias, oldest first, from the JSON object of all histories."""
    steps = content.get(alias)
    targets: list[Target] = []
    for step in steps if isinstance(steps, list) else ():
        with contextlib.suppress(ConfigError):
            targets.append(target_from_json(step))
    return targets


def write_history(folder: Path, alias: str, steps: Sequence[Target]) -> None:
    """Writes the earlier targets of an alias, oldest first.

    Raises:
        OSError: The disk refuses the write.
    """
    before = read_table(folder, _HISTORY_FILE)[0]
    after = with_history(before, alias, steps)
    if before.get(alias, []) != after[alias]:
        write_table(folder, _HISTORY_FILE, after)


def with_history(content: Mapping[str, Any], alias: str, steps: Sequence[Target]) -> dict[str, Any]:
    """Puts the history of an alias into a copy of the JSON object of all histories, without the oldest entries.

    Args:
        content: histories by alias, as JSON types.
        alias: alias whose history is put in the place of the present one.
        steps: earlier targets of the alias, oldest first; the last ones are kept.
    """
    return {**content, alias: [target_to_json(step) for step in steps][-_MAX_STEPS:]}


def read_table(folder: Path, file_name: str) -> tuple[dict[str, Any], str | None]:
    """Reads a JSON object, which is empty if there is no file; also returns the reason of a failure, or None."""
    path = folder / file_name
    called = f"{folder.name}/{file_name}"  # clients see this name, so it has no path of this machine
    if is_link_out(path, folder.parent):
        return {}, f"{called} is a link that leads out of the store."
    try:
        with open_file(path) as file:
            text = file.read(_MAX_BYTES + 1)
        if len(text) > _MAX_BYTES:
            return {}, f"{called} has more than {_MAX_BYTES:,} bytes."
        content = json.loads(text)
    except (FileNotFoundError, NotADirectoryError):
        return {}, None
    except OSError as error:
        return {}, f"{called} cannot be read: {error.strerror}."
    except (ValueError, RecursionError) as error:
        return {}, f"{called} is not JSON: {error}."
    return (content, None) if isinstance(content, dict) else ({}, f"{called} is not a table of alias to version.")


def write_table(folder: Path, file_name: str, content: Mapping[str, Any]) -> None:
    """Writes a JSON object to a file of a model's folder, atomically.

    Raises:
        OSError: The disk refuses the write.
    """
    text = json.dumps(content, sort_keys=True)
    write_whole(folder / file_name, text.encode(), named=ALIASES_FILE)  # the next writer removes files of such names
