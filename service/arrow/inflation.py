"""Inflation of compressed buffers in steps. The sizes that a stream states are checked before a byte is inflated."""

from __future__ import annotations

import struct
from collections.abc import Generator
from typing import Any, Protocol

from service.arrow.flat_reader import Malformed
from service.errors import TooLarge, UnsupportedBody

_PREFIX = struct.Struct("<q")
_PLAIN = -1  # the stated size of a buffer that was not compressed
_CODECS = ("lz4", "zstd")
_STEP_BYTES = 1 << 18  # output of one step, which takes a fraction of a millisecond
_FED_BYTES = 1 << 16
_MOST_WINDOW = 1 << 23  # memory of one decompression; zstd needs more only at its levels from 20 on


class _Source(Protocol):
    """A decompressor that writes to memory."""

    def readinto(self, out: memoryview, /) -> int:
        """Writes some of the output; returns the number of bytes, 0 at the end."""


class Inflation:
    """The inflation of the buffers of one request.

    Args:
        limit: largest number of inflated bytes of all buffers.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._stated = 0
        self._since_step = 0

    def inflated(self, data: memoryview, codec: int | None) -> Generator[None, None, memoryview]:
        """Inflates a buffer.

        Args:
            data: buffer as it was sent.
            codec: code of the compression; None for none.

        Returns:
            The inflated buffer, as the generator's value.

        Raises:
            TooLarge: the buffers of the request would have more bytes than the limit.
            UnsupportedBody: the library of the compression is not installed.
            Malformed: the buffer is not what it states to be.
        """
        if codec is None or not data:
            return data
        if len(data) < _PREFIX.size:
            raise Malformed("a compressed buffer does not state its size")
        size, data = _PREFIX.unpack_from(data)[0], data[_PREFIX.size :]
        if size == _PLAIN:
            return data
        self._stated += max(size, 0)
        if self._stated > self._limit:
            raise TooLarge(f"Arrow buffers of more than {self._limit:,} bytes after decompression.")
        if size < 0 or codec >= len(_CODECS):
            raise Malformed("a compressed buffer states no valid size or compression")
        out = bytearray(size + 1)  # one byte more, to notice a buffer that is longer than it states
        view, at = memoryview(out), 0
        source = _source(data, _CODECS[codec])
        while at <= size:
            try:
                count = source.readinto(view[at : at + _STEP_BYTES])
            except Exception as error:  # each library has errors of its own
                raise Malformed(f"a compressed buffer is not {_CODECS[codec]}") from error
            if not count:
                break
            at += count
            self._since_step += count
            if self._since_step >= _STEP_BYTES:
                self._since_step = 0
                yield
        if at != size:
            raise Malformed("a compressed buffer has another size than it states")
        return view[:size]


def _source(data: memoryview, codec: str) -> _Source:
    """Returns the decompressor of a buffer."""
    # Imported here: most streams are not compressed, and the libraries are optional.
    try:
        if codec == "lz4":
            import lz4.frame

            return _Lz4(lz4.frame.LZ4FrameDecompressor(), data)
        import zstandard
    except ImportError:
        raise UnsupportedBody(
            f"This server does not inflate Arrow buffers ({codec}): send the stream without compression, or install "
            "the server with its extra: axon[service,arrow].",
            {},
        ) from None
    source: _Source = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(data)
    return source


class _Lz4:
    """A decompressor of lz4 frames, which is fed piece by piece."""

    def __init__(self, stream: Any, data: memoryview) -> None:
        self._stream = stream
        self._data = data

    def readinto(self, out: memoryview) -> int:
        """Writes some of the output; returns the number of bytes, 0 at the end."""
        stream = self._stream
        while not stream.eof:
            fed: bytes | memoryview = b""
            if stream.needs_input:
                fed, self._data = self._data[:_FED_BYTES], self._data[_FED_BYTES:]
                if not fed:
                    return 0
            some = stream.decompress(fed, max_length=len(out))
            if some:
                out[: len(some)] = some
                return len(some)
        return 0
