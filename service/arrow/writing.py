"""The messages of a stream of answers: schema, dictionary, batches of rows."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from service.arrow.flat_writer import Node, Structs, flat_buffer
from service.arrow.messages import BATCH, DICTIONARY, SCHEMA

BOOLEAN, INT64, UINT64, FLOAT32, FLOAT64 = "bool", "int64", "uint64", "float32", "float64"

END = struct.pack("<Ii", 0xFFFFFFFF, 0)

_V5 = 4
_ALIGNMENT = 8
_MOST_KEPT = 256  # heads of batches that are kept, of about 300 bytes each
# By name: position in the union `Type`, from 1 on, and the table of the type.
_TYPES = {
    BOOLEAN: (6, Node({})),
    INT64: (2, Node({0: ("i", 64), 1: ("B", 1)})),
    UINT64: (2, Node({0: ("i", 64)})),
    FLOAT32: (3, Node({0: ("h", 1)})),
    FLOAT64: (3, Node({0: ("h", 2)})),
}
_UTF8, _LIST = 5, 16
_CODES = Node({0: ("q", 0), 1: Node({0: ("i", 32), 1: ("B", 1)})})  # the dictionary 0, with int32 codes


@dataclass(frozen=True, slots=True)
class Field:
    """A column of answers, without missing cells.

    Attributes:
        name: name of the column.
        kind: type of the cells; None for texts in the stream's only dictionary.
        list_size: number of cells in a list; None for a column without lists.
    """

    name: str
    kind: str | None
    list_size: int | None = None


def schema_message(fields: Sequence[Field], metadata: Mapping[str, str]) -> bytes:
    """Returns the message of a schema."""
    pairs = [Node({0: key.encode(), 1: value.encode()}) for key, value in metadata.items()]
    return b"".join(_message(SCHEMA, Node({1: [_field(field) for field in fields], 2: pairs}), []))


def dictionary_message(values: int, buffers: Sequence[bytes]) -> bytes:
    """Returns the message of the stream's dictionary.

    Args:
        values: number of values.
        buffers: buffers of the values, from `text_buffers`.
    """
    header = Node({0: ("q", 0), 1: _batch(values, [values], list(map(len, buffers)))})
    return b"".join(_message(DICTIONARY, header, buffers))


def batch_message(rows: int, nodes: Sequence[int], buffers: Sequence[bytes]) -> list[bytes]:
    """Returns the parts of the message of a batch.

    Args:
        rows: number of rows.
        nodes: number of cells of each column and of its lists.
        buffers: buffers of all columns.
    """
    return [_batch_head(rows, tuple(nodes), tuple(map(len, buffers))), *_body(buffers)]


def text_buffers(texts: Sequence[str]) -> list[bytes]:
    """Returns the buffers of a column of texts: marks of missing cells (none), offsets, and the texts."""
    data = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, data)]).astype("<i4")
    return [b"", offsets.tobytes(), b"".join(data)]


def _field(field: Field) -> Node:
    name = field.name.encode()
    if field.kind is None:
        return Node({0: name, 2: ("B", _UTF8), 3: Node({}), 4: _CODES})
    code, about = _TYPES[field.kind]
    if field.list_size is None:
        return Node({0: name, 2: ("B", code), 3: about})
    item = Node({0: b"item", 2: ("B", code), 3: about})
    return Node({0: name, 2: ("B", _LIST), 3: Node({0: ("i", field.list_size)}), 5: [item]})


@lru_cache(_MOST_KEPT)  # small answers have the same few numbers of rows, and a head takes longer than the rest
def _batch_head(rows: int, nodes: tuple[int, ...], sizes: tuple[int, ...]) -> bytes:
    """Returns the metadata of the message of a batch."""
    return _head(BATCH, _batch(rows, nodes, sizes), sizes)


def _batch(rows: int, nodes: Sequence[int], sizes: Sequence[int]) -> Node:
    """Returns the table of a batch with buffers of these sizes."""
    places: list[int] = []
    at = 0
    for size in sizes:
        places += (at, size)
        at += _padded(size)
    cells = [number for count in nodes for number in (count, 0)]
    return Node({0: ("q", rows), 1: Structs(cells, 2), 2: Structs(places, 2)})


def _message(kind: int, header: Node, buffers: Sequence[bytes]) -> list[bytes]:
    """Returns the parts of a message."""
    return [_head(kind, header, list(map(len, buffers))), *_body(buffers)]


def _head(kind: int, header: Node, sizes: Sequence[int]) -> bytes:
    """Returns the metadata of a message with buffers of these sizes."""
    size = sum(map(_padded, sizes))
    metadata = flat_buffer(Node({0: ("h", _V5), 1: ("B", kind), 2: header, 3: ("q", size)}))
    return struct.pack("<Ii", 0xFFFFFFFF, len(metadata)) + metadata


def _body(buffers: Sequence[bytes]) -> list[bytes]:
    """Returns buffers with their padding."""
    parts: list[bytes] = []
    for buffer in buffers:
        parts.append(buffer)
        parts.append(bytes(_padded(len(buffer)) - len(buffer)))
    return parts


def _padded(size: int) -> int:
    return size + -size % _ALIGNMENT
