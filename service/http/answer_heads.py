"""The heads of direct answers, as bytes: status line, default headers and headers of the answer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from service.http.compression import VARY
from service.http.response_headers import NOSNIFF

_BEFORE_ID = 5  # parts of a head before the request id


class AnswerHeads:
    """Writes the heads of one connection. The default headers are kept as bytes while uvicorn keeps the same list."""

    __slots__ = ("_begin", "_begin_of", "_default", "_written")

    def __init__(self) -> None:
        self._default: Sequence[tuple[bytes, bytes]] | None = None
        self._written = b""
        self._begin = b""
        self._begin_of: tuple[object, ...] = ()

    def begin(self, default: Sequence[tuple[bytes, bytes]], status: int, content_type: bytes) -> bytes:
        """Returns a head up to the value of the request id.

        Args:
            default: uvicorn's default headers, among them the date.
            status: HTTP status.
            content_type: media type of the body.
        """
        wanted = default, status, content_type
        if wanted != self._begin_of or default is not self._default:
            self._begin = b"".join(self.head(default, status, content_type, b"", 0, (), keep_alive=True)[:_BEFORE_ID])
            self._begin_of = wanted
        return self._begin

    def head(
        self,
        default: Sequence[tuple[bytes, bytes]],
        status: int,
        content_type: bytes,
        request_id: bytes,
        length: int,
        headers: Iterable[tuple[bytes, bytes]],
        keep_alive: bool,
    ) -> list[bytes | bytearray]:
        """Returns the parts of a head.

        Args:
            default: uvicorn's default headers, among them the date.
            status: HTTP status.
            content_type: media type of the body.
            request_id: identifier of the request.
            length: number of bytes of the body.
            headers: further headers, with names in lower case.
            keep_alive: False if the connection closes after the answer.
        """
        if default is not self._default:
            self._default = default
            self._written = b"".join(b"%b: %b\r\n" % header for header in (*default, NOSNIFF, VARY))
        parts: list[bytes | bytearray] = [
            STATUS_LINE[status],
            self._written,
            b"content-type: ",
            content_type,
            b"\r\nx-request-id: ",
            request_id,
            b"\r\ncontent-length: %d\r\n" % length,
        ]
        parts += [b"%b: %b\r\n" % header for header in headers]
        parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
        return parts
