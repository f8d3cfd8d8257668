"""The head of a call: its method, its deadline and its metadata, decoded from a header block.

A client repeats its head, so most blocks consist of indices into the tables of the connection. As long as its dynamic
table does not change, the same block is the same head.
"""

from __future__ import annotations

from hpack import Decoder, HPACKError

from service.grpc.frames import COMPRESSION_ERROR
from service.grpc.http2_error import ConnectionFault, StreamFault

HEADER_LIST_BYTES = 16_384  # largest size of a head, as announced to clients
_MOST_KNOWN = 64  # heads of one connection
_MOST_DIGITS = 8
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_PSEUDO = frozenset((b":method", b":path", b":scheme", b":authority", b":protocol"))


class RequestHead:
    """The head of a call.

    Args:
        headers: names and values, with names in lower case.

    Attributes:
        fields: values by name; several values of a name have line ends between them.
        path: path of the method, such as `/inference.GRPCInferenceService/ModelInfer`.
        http_error: HTTP status for a request that is not gRPC; 0 for gRPC.
        seconds: time that the client allows, in seconds; None for the server's.
        is_valid: False if the deadline is malformed.

    Raises:
        StreamFault: the headers are not a request.
    """

    __slots__ = ("fields", "http_error", "is_valid", "path", "seconds")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        fields: dict[bytes, bytes] = {}
        for name, value in headers:
            if name[:1] == b":" and (name not in _PSEUDO or name in fields):
                raise StreamFault("a pseudo-header is unknown or repeated")
            if name != name.lower():
                raise StreamFault("a header's name is not in lower case")
            fields[name] = b"%b\n%b" % (fields[name], value) if name in fields else value
        if b":method" not in fields or not fields.get(b":path"):
            raise StreamFault("the request has no method or no path")
        self.fields = fields
        self.path = fields[b":path"]
        self.http_error = 0
        if fields[b":method"] != b"POST":
            self.http_error = 405
        elif not fields.get(b"content-type", b"").startswith(b"application/grpc"):
            self.http_error = 415
        timeout = fields.get(b"grpc-timeout")
        self.is_valid = True
        self.seconds: float | None = None
        if timeout is not None:
            self.is_valid = timeout[-1:] in _UNITS and timeout[:-1].isdigit() and len(timeout) <= _MOST_DIGITS + 1
            if self.is_valid:
                self.seconds = int(timeout[:-1]) * _UNITS[timeout[-1:]]


class HeadReader:
    """A reader of the header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(max_header_list_size=HEADER_LIST_BYTES)
        self._known: dict[bytes, RequestHead] = {}

    def read(self, block: bytes) -> RequestHead:
        """Returns the head of a request.

        Raises:
            StreamFault: the headers are not a request.
            ConnectionFault: the block is malformed, so that later blocks cannot be decoded either.
        """
        head = self._known.get(block)
        if head is None:
            headers, is_stable = self._decode(block)
            head = RequestHead(headers)
            if is_stable and len(self._known) < _MOST_KNOWN:
                self._known[block] = head
        return head

    def skip(self, block: bytes) -> None:
        """Decodes a block without use, because the block may change the dynamic table."""
        self._decode(block)

    def _decode(self, block: bytes) -> tuple[list[tuple[bytes, bytes]], bool]:
        """Returns the headers of a block, and True if the block has not changed the dynamic table."""
        entries = self._decoder.header_table.dynamic_entries
        size, limit = len(entries), self._decoder.header_table_size
        newest = entries[0] if entries else None
        try:
            headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except (HPACKError, ValueError, IndexError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, "a header block cannot be decoded") from error
        entries = self._decoder.header_table.dynamic_entries
        is_stable = (
            len(entries) == size and (not entries or entries[0] is newest) and self._decoder.header_table_size == limit
        )
        if not is_stable:
            self._known.clear()
        return headers, is_stable
