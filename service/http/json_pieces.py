"""JSON in pieces, each of which takes some microseconds to write, so that a large document holds up nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from service.http.step_queue import StepQueue

_PIECE_VALUES = 256  # values in a piece: about 10 µs
_CHARACTERS_A_VALUE = 64  # of a text, which counts for several values where it is long


class Members:
    """An object whose members are made while it is written.

    Args:
        items: names and values of the members.
    """

    def __init__(self, items: Iterable[tuple[str, Any]]) -> None:
        self.items = items


async def write_in_steps(queue: StepQueue, document: Any, size: int) -> bytes:
    """Writes a document as JSON between the event loop's turns.

    Args:
        queue: queue of the process's long work.
        document: value as `json_pieces` takes it.
        size: estimate of the JSON's length in bytes.
    """
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def steps() -> Iterator[int]:
        pieces = []
        try:
            for piece in json_pieces(document):
                pieces.append(piece)
                yield len(piece)
                if done.done():  # whoever asked is gone
                    return
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(b"".join(pieces))

    queue.add(steps(), size)
    return await done


def json_pieces(value: Any) -> Iterator[bytes]:
    """Writes a value as JSON, piece by piece.

    Args:
        value: value of JSON's types, in which an iterator stands for a list, and `Members` for an object.
    """
    match value:
        case Members():
            yield from _object(value.items)
        case Mapping() if _weight(value, _PIECE_VALUES) >= _PIECE_VALUES:
            yield from _object(value.items())
        case Iterator():
            yield from _list(value)
        case list() | tuple() if _weight(value, _PIECE_VALUES) >= _PIECE_VALUES:
            yield from _list(value)
        case _:
            yield orjson.dumps(value)


def _object(items: Iterable[tuple[str, Any]]) -> Iterator[bytes]:
    yield b"{"
    together: dict[str, Any] = {}
    weight, comma = 0, b""
    for name, value in items:
        own = _weight(value, _PIECE_VALUES)
        if together and weight + own > _PIECE_VALUES:
            yield comma + orjson.dumps(together)[1:-1]
            together, weight, comma = {}, 0, b","
        if own >= _PIECE_VALUES:
            yield comma + orjson.dumps(name) + b":"
            yield from json_pieces(value)
            comma = b","
        else:
            together[name] = value
            weight += own
    yield (comma + orjson.dumps(together)[1:] if together else b"}")


def _list(items: Iterable[Any]) -> Iterator[bytes]:
    yield b"["
    together: list[Any] = []
    weight, comma = 0, b""
    for value in items:
        own = _weight(value, _PIECE_VALUES)
        if together and weight + own > _PIECE_VALUES:
            yield comma + orjson.dumps(together)[1:-1]
            together, weight, comma = [], 0, b","
        if own >= _PIECE_VALUES:
            yield comma
            yield from json_pieces(value)
            comma = b","
        else:
            together.append(value)
            weight += own
    yield (comma + orjson.dumps(together)[1:] if together else b"]")


def _weight(value: Any, most: int) -> int:
    """How many values a value holds, itself included; `most` where these are more, or are not known yet."""
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS_A_VALUE
    if isinstance(value, Members | Iterator):
        return most
    if not isinstance(value, Mapping | list | tuple):
        return 1
    weight = 1
    for child in value.values() if isinstance(value, Mapping) else value:
        weight += _weight(child, most - weight)
        if weight >= most:
            return most
    return weight
