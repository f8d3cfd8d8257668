"""The messages of a stream: the schema first, then dictionaries and batches of rows, each with its buffers."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.arrow.flat_reader import FlatBuffer, Malformed, Table

SCHEMA, DICTIONARY, BATCH = 1, 2, 3  # the members of the union `MessageHeader` that a stream has

_PREFIX = struct.Struct("<Ii")
_MARK = 0xFFFFFFFF
_FILE_MAGIC = b"ARROW1"
_VERSIONS = (3, 4)  # V4 and V5, of every writer since 2017


class Message:
    """A message.

    Args:
        metadata: FlatBuffer of the message.

    Attributes:
        kind: `SCHEMA`, `DICTIONARY`, `BATCH` or another number.
        header: table of the schema, the dictionary or the batch.
        version: version of the metadata.
        metadata: FlatBuffer of the message.
        body: bytes of the buffers.
    """

    __slots__ = ("body", "header", "kind", "metadata", "version")

    def __init__(self, metadata: memoryview, rest: memoryview) -> None:
        root = FlatBuffer(metadata).root()
        self.version = root.short(0)
        if self.version not in _VERSIONS:
            raise Malformed(f"its metadata has version {self.version + 1}, and versions 4 and 5 are read")
        size = root.long(3)
        if not 0 <= size <= len(rest):
            raise Malformed("it ends within a message")
        self.kind = root.byte(1)
        self.header = root.needed(2)
        self.metadata = metadata
        self.body = rest[:size]


class Messages:
    """The messages of a body.

    Args:
        body: bytes of the stream.

    Attributes:
        at: number of bytes read so far.
    """

    __slots__ = ("_body", "at")

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = memoryview(body)
        self.at = 0

    def __iter__(self) -> Iterator[Message]:
        """Yields the messages up to the end of the stream.

        Raises:
            Malformed: the bytes are not a stream.
        """
        body = self._body
        while self.at < len(body):
            if len(body) - self.at < _PREFIX.size:
                raise Malformed(self._other_than("it ends within a message"))
            mark, size = _PREFIX.unpack_from(body, self.at)
            if mark != _MARK:
                raise Malformed(self._other_than("a message does not begin with FF FF FF FF"))
            begin = self.at + _PREFIX.size
            if not size:
                self.at = begin
                if begin != len(body):
                    raise Malformed(f"{len(body) - begin:,} bytes follow its end")
                return
            if not 0 < size <= len(body) - begin:
                raise Malformed("it ends within a message")
            message = Message(body[begin : begin + size], body[begin + size :])
            self.at = begin + size
            yield message
            self.at = begin + size + len(message.body)

    def _other_than(self, reason: str) -> str:
        """Returns the reason why the bytes are not a stream, or the name of their format."""
        if bytes(self._body[: len(_FILE_MAGIC)]) == _FILE_MAGIC:
            return "it is an Arrow file (Feather), and only the stream format is read"
        return reason


class Batch:
    """A batch of rows, or the values of a dictionary.

    Args:
        table: table of the batch.
        body: bytes of its buffers.

    Attributes:
        rows: number of rows.
        nodes: `(nodes, 2)` number of cells and of missing ones.
        compression: code of the compression of the buffers; None for none.
    """

    __slots__ = ("_body", "_buffers", "_views", "compression", "nodes", "rows")

    def __init__(self, table: Table, body: memoryview) -> None:
        self._body = body
        self.rows = table.long(0)
        if self.rows < 0:
            raise Malformed("a batch has a negative number of rows")
        self.nodes = table.longs(1, 2)
        self._buffers = table.longs(2, 2)
        self._views = np.concatenate(([0], np.cumsum(table.longs(4)[:, 0])))
        compression = table.table(3)
        self.compression = None if compression is None else compression.byte(0)
        if compression is not None and compression.byte(1):
            raise Malformed("its batches are compressed in a way that Arrow does not define")

    def check_size(self, nodes: int, buffers: int, views: int) -> None:
        """Refuses a batch with other numbers of nodes or buffers than the schema says."""
        counts: NDArray[np.int64] = np.diff(self._views)
        if len(counts) != views or (counts < 0).any():
            raise Malformed("a batch has other buffers of views than its schema")
        if len(self.nodes) != nodes or len(self._buffers) != buffers + int(self._views[-1]):
            raise Malformed("a batch has other columns than its schema")

    def node(self, node: int) -> tuple[int, int]:
        """Returns the number of cells of a node, and how many are missing."""
        if node >= len(self.nodes):
            raise Malformed("a dictionary has no values")
        cells, missing = self.nodes[node].tolist()
        return cells, missing

    def place(self, buffer: int, views: int) -> int:
        """Returns the position of a buffer, given the number of columns of views before."""
        return buffer + int(self._views[views])

    def view_buffers(self, views: int) -> int:
        """Returns the number of data buffers of a column of views."""
        if views + 1 >= len(self._views) or self._views[views + 1] < self._views[views]:
            raise Malformed("a dictionary does not say how many buffers its texts have")
        return int(self._views[views + 1] - self._views[views])

    def buffer(self, position: int) -> memoryview:
        """Returns the bytes of a buffer, compressed or not.

        Raises:
            Malformed: there is no such buffer, or the buffer is not within the body.
        """
        if position >= len(self._buffers):
            raise Malformed("a column has fewer buffers than its type")
        offset, size = self._buffers[position].tolist()
        if offset < 0 or size < 0 or offset + size > len(self._body):
            raise Malformed("a buffer is not within its message")
        return self._body[offset : offset + size]
