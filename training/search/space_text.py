"""A parser of search spaces: `learning_rate=1e-4..1e-1:log`, `hidden_sizes=64,64|128,128`, a JSON or TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

from models.errors import ConfigError
from training.config import TrainConfig
from training.search.space import Choices, FloatRange, IntRange, Parameter, check_field_name

_FORMS = "write NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A|B|C"


def read_variation(text: str) -> tuple[str, Parameter]:
    """Parses `NAME=LOW..HIGH`, `NAME=LOW..HIGH:log` or `NAME=A|B|C` into a name and a parameter.

    Raises:
        ConfigError: the text has another form, the setting cannot vary, or a value is not valid.
    """
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise ConfigError(f"{text!r} does not say what varies and how: {_FORMS}.")
    return name.strip(), _read_parameter(name.strip(), values.strip())


def read_space_file(path: Path) -> dict[str, Parameter]:
    """Reads parameters by name from a JSON or TOML file.

    A parameter is a list of choices, a text in the form that `read_variation` takes after the `=`, an object with
    `low`, `high` and optionally `log`, or an object with `choices`.

    Raises:
        ConfigError: the file cannot be read, or an entry is not valid; the message names the file or the entry.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except OSError as error:
        raise ConfigError(f"the search space {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # JSON, TOML and UTF-8 alike
        raise ConfigError(f"the search space {path} is neither JSON nor TOML: {error}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"the search space {path} must be an object of settings by name.")
    return {name: _of_value(name, value) for name, value in content.items()}


def _of_value(name: str, value: Any) -> Parameter:
    if isinstance(value, str):
        return _read_parameter(name, value)
    if isinstance(value, list):
        check_field_name(name)
        return Choices(values=tuple(value))
    if isinstance(value, Mapping):
        if set(value) == {"choices"} and isinstance(value["choices"], list):
            return _of_value(name, value["choices"])
        if {"low", "high"} <= set(value) <= {"low", "high", "log"}:
            return _range(name, value["low"], value["high"], log=bool(value.get("log", False)))
    raise ConfigError(f"{name} needs choices, or low and high (and log), got {value!r}.")


def _read_parameter(name: str, text: str) -> Parameter:
    check_field_name(name)
    if ".." not in text:
        return Choices(values=tuple(_read(name, part.strip()) for part in text.split("|")))
    ends, _, how = text.partition(":")
    low, _, high = ends.partition("..")
    if how not in ("", "log"):
        raise ConfigError(f"a range is linear or ends in :log, got {text!r} for {name}.")
    try:
        return _range(name, _number(low), _number(high), log=how == "log")
    except ValueError as error:
        raise (
            error if isinstance(error, ConfigError) else ConfigError(f"{name} cannot vary over {text!r}: {_FORMS}.")
        ) from error


def _range(name: str, low: Any, high: Any, *, log: bool) -> Parameter:
    kinds = _kinds(name)
    if float in kinds:
        return FloatRange(low=low, high=high, log=log)
    if int in kinds:
        return IntRange(low=low, high=high, log=log)
    raise ConfigError(f"{name} is no number and has no range: name choices ({name}=A|B|C).")


def _number(text: str) -> float:
    return int(text) if text.strip().lstrip("+-").isdecimal() else float(text)


def _read(name: str, text: str) -> Any:
    """Converts a text to the field's type; returns a text that fits no type unchanged, for `TrainConfig` to refuse."""
    kinds = _kinds(name)
    if any(getattr(kind, "__origin__", None) is tuple for kind in kinds):
        try:
            return () if text == "none" else tuple(int(width) for width in text.split(","))
        except ValueError:
            raise ConfigError(f"{name} takes widths such as 64,64, got {text!r}.") from None
    if text == "none" and type(None) in kinds:
        return None
    if bool in kinds and text in ("true", "false"):
        return text == "true"
    try:
        number = _number(text)
    except ValueError:
        return text
    return float(number) if float in kinds else number


def _kinds(name: str) -> tuple[Any, ...]:
    """Returns the types of the values that a field takes."""
    hint = get_type_hints(TrainConfig)[name]
    # tuple[int, ...] and Literal[...] have arguments too, but each is a single type.
    return (hint,) if getattr(hint, "__origin__", None) is not None else get_args(hint) or (hint,)
