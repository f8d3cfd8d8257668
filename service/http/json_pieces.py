"""A JSON writer in pieces of some microseconds, so that a large document does not block the event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from service.step_queue import StepQueue

_PIECE_VALUES = 256  # values that are written at once: about 10 µs
_PIECE_BYTES = 4096
_NUMBERS = frozenset((float, int, bool, type(None)))  # the types of most values
_CHARACTERS_A_VALUE = 64  # a long text counts for several values


class Members:
    """A JSON object whose members are made during writing.

    Args:
        items: names and values of the members.
    """

    def __init__(self, items: Iterable[tuple[str, Any]]) -> None:
        self.items = items


async def write_in_steps(queue: StepQueue, document: Any, size: int) -> bytes:
    """Writes a document as JSON, in steps between the turns of the event loop.

    Args:
        queue: queue for the long work of this process.
        document: value that `json_pieces` accepts.
        size: estimated length of the JSON text in bytes.
    """
    done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def steps() -> Iterator[int]:
        pieces = []
        try:
            for piece in json_pieces(document):
                pieces.append(piece)
                yield len(piece)
                if done.done():  # the caller was cancelled
                    return
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(b"".join(pieces))

    queue.add(steps(), size)
    return await done


def json_pieces(value: Any) -> Iterator[bytes]:
    """Yields the JSON text of a value, piece by piece.

    Args:
        value: value of JSON's types; an iterator is written as a list, and `Members` as an object.
    """
    if isinstance(value, str) or _weight(value, _PIECE_VALUES) < _PIECE_VALUES:
        yield _dump(value)
        return
    items = value.items if isinstance(value, Members) else value.items() if isinstance(value, Mapping) else None
    text = bytearray(b"[" if items is None else b"{")
    comma = b""
    for name, child in ((None, child) for child in value) if items is None else items:
        text += comma if name is None else comma + _dump(name) + b":"
        comma = b","
        if _weight(child, _PIECE_VALUES) < _PIECE_VALUES:
            text += _dump(child)
        else:
            yield bytes(text)
            text.clear()
            yield from json_pieces(child)
        if len(text) >= _PIECE_BYTES:
            yield bytes(text)
            text.clear()
    text += b"]" if items is None else b"}"
    yield bytes(text)


def _weight(value: Any, most: int) -> int:
    """Returns an estimate of the number of values in a value; counting stops at `most`.

    A long text counts as several values, and an iterator or `Members` as many.
    """
    if isinstance(value, str):
        return 1 + len(value) // _CHARACTERS_A_VALUE
    if isinstance(value, Mapping | list | tuple):
        weight = 1 + len(value)
        for child in value.values() if isinstance(value, Mapping) else value:
            if weight >= most:
                break
            if type(child) not in _NUMBERS:
                weight += _weight(child, most - weight + 1) - 1
        return weight
    return _PIECE_VALUES if isinstance(value, Members | Iterator) else 1


def _dump(value: Any) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits, or half of a surrogate pair; JSON allows both
        return json.dumps(value, separators=(",", ":")).encode()
