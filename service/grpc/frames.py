"""The frames of HTTP/2 (RFC 9113), and the header blocks of gRPC's answers.

Answers use no dynamic table of HPACK (RFC 7541). So a block is the same for all connections, and most are constants.
"""

from __future__ import annotations

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Kinds of frames.
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

# Flags.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

# Error codes.
NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

# Settings.
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

FRAME_BYTES = 16_384  # largest payload of a frame, in both directions
WINDOW_BYTES = 65_535  # a stream's window at its start
GREATEST_WINDOW = 2**31 - 1
GREATEST_ID = 2**31 - 1

HEAD = struct.Struct(">IBI")  # length and kind, flags, stream
HEAD_BYTES = HEAD.size
LONG = struct.Struct(">I")
SETTING = struct.Struct(">HI")
MESSAGE_HEAD = struct.Struct(">BI")  # compressed or not, length of the message
MESSAGE_HEAD_BYTES = MESSAGE_HEAD.size


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Returns a frame."""
    return HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def window_update(stream: int, size: int) -> bytes:
    """Returns a frame that lets the peer send `size` more bytes; stream 0 is the connection."""
    return frame(WINDOW_UPDATE, 0, stream, LONG.pack(size))


def reset(stream: int, code: int) -> bytes:
    """Returns a frame that ends a stream."""
    return frame(RST_STREAM, 0, stream, LONG.pack(code))


def go_away(last: int, code: int, reason: str = "") -> bytes:
    """Returns a frame that announces the end of the connection; streams above `last` will not be answered."""
    return frame(GOAWAY, 0, 0, LONG.pack(last) + LONG.pack(code) + reason.encode())


def settings(*pairs: tuple[int, int]) -> bytes:
    """Returns a frame with the settings of this side."""
    return frame(SETTINGS, 0, 0, b"".join([SETTING.pack(*pair) for pair in pairs]))


def field(name: bytes, value: bytes) -> bytes:
    """Returns a header field as a literal that enters no table."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    if len(text) < 127:
        return bytes((len(text),)) + text
    rest, length = len(text) - 127, bytearray((127,))
    while rest >= 128:
        length.append(rest & 127 | 128)
        rest >>= 7
    length.append(rest)
    return bytes(length) + text


_STATUS_200 = b"\x88"  # entry 8 of the static table
ANSWER_HEAD = (
    _STATUS_200 + field(b"content-type", b"application/grpc") + field(b"grpc-accept-encoding", b"identity,deflate,gzip")
)
OK_TRAILERS = field(b"grpc-status", b"0")


def error_trailers(code: int, message: str) -> bytes:
    """Returns the fields of a status that is not OK. gRPC percent-encodes the message."""
    text = message.encode()
    encoded = b"".join([bytes((byte,)) if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte for byte in text])
    return field(b"grpc-status", b"%d" % code) + field(b"grpc-message", encoded)


def http_error(status: int) -> bytes:
    """Returns the header block of an answer to a request that is not gRPC."""
    return field(b":status", b"%d" % status)
