"""Holds a JSON document against the types of Grafana's Foundation SDK, which are made of Grafana's own schemas.

The SDK reads JSON without a complaint: it drops keys that it does not know, and takes any value. So what it has read is
written again and compared with the document, and each value is compared with the type that its class declares.
"""

from __future__ import annotations

import enum
import inspect
import json
import types
import typing
from collections.abc import Iterator
from typing import Any


def mismatches(cls: type, document: dict[str, Any]) -> list[str]:
    """Returns what of a document does not fit a class of the SDK: unknown keys, and values of another type."""
    from grafana_foundation_sdk.cog.plugins import register_default_plugins

    register_default_plugins()
    return list(_of_object(cls, document, "document"))


def _of_object(cls: Any, given: dict[str, Any], path: str) -> Iterator[str]:
    """Yields what does not fit of an object in JSON."""
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    read = cls.from_json(given)
    yield from _lost(given, json.loads(json.dumps(read, cls=JSONEncoder)), path)
    yield from _of_attributes(read, path)


def _lost(given: Any, written: Any, path: str) -> Iterator[str]:
    """Yields what of a document is not in what was written after reading."""
    if isinstance(given, dict) and isinstance(written, dict):
        for key, value in given.items():
            if key not in written:
                yield f"{path}.{key} is unknown"
            else:
                yield from _lost(value, written[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(written, list) and len(given) == len(written):
        for at, (one, other) in enumerate(zip(given, written, strict=True)):
            yield from _lost(one, other, f"{path}[{at}]")
    elif given != written:
        yield f"{path} is read as {written!r}"


def _of_attributes(read: Any, path: str) -> Iterator[str]:
    """Yields the attributes of an object of the SDK whose values are of another type than declared."""
    for attribute, hint in typing.get_type_hints(type(read)).items():
        value = getattr(read, attribute)
        if value is not None:
            first, *others = attribute.removesuffix("_val").split("_")
            yield from _of_value(hint, value, f"{path}.{first}{''.join(map(str.capitalize, others))}")


def _of_value(hint: Any, value: Any, path: str) -> Iterator[str]:
    """Yields what does not fit of a value."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        yield from min((list(_of_value(argument, value, path)) for argument in arguments), key=len)
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"{path} is {value!r}, and not one of {arguments}"
    elif origin in (list, dict):
        if not isinstance(value, origin):
            yield f"{path} is {value!r}, and no {origin.__name__}"
        elif origin is list:
            for at, one in enumerate(value):
                yield from _of_value(arguments[0], one, f"{path}[{at}]")
    elif hasattr(value, "to_json"):
        if isinstance(value, hint):
            yield from _of_attributes(value, path)
        else:
            yield f"{path} is a {type(value).__name__}, and no {hint.__name__}"
    elif hasattr(hint, "from_json"):  # an object that the SDK has not read, because it is in a list
        yield from _of_object(hint, value, path) if isinstance(value, dict) else [f"{path} is no object: {value!r}"]
    else:
        yield from _of_scalar(hint, value, path)


def _of_scalar(hint: Any, value: Any, path: str) -> Iterator[str]:
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        accepted = [member.value for member in hint]
        if value not in accepted:
            yield f"{path} is {value!r}, and not one of {accepted}"
    elif hint not in (object, Any):
        is_right = isinstance(value, (int, float) if hint is float else hint)
        if not is_right or (isinstance(value, bool) and hint is not bool):
            yield f"{path} is {value!r}, and no {hint.__name__}"
