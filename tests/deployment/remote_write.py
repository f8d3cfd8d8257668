"""Prometheus's remote write protocol 0.1: samples with a time of their own, as a request body.

https://prometheus.io/docs/specs/prw/remote_write_spec/. The body is compressed by Snappy's block format, of which only
literals are used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

HEADERS = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_LONGEST_LITERAL = 1 << 16
Sample = tuple[Mapping[str, str], float]


def body(samples: Iterable[Sample], seconds: float) -> bytes:
    """Returns the body of a request.

    Args:
        samples: labels, of which `__name__` is the metric, and value of each sample.
        seconds: Unix time of all samples.
    """
    return _snappy(b"".join(_field(1, _series(labels, value, seconds)) for labels, value in samples))


def _series(labels: Mapping[str, str], value: float, seconds: float) -> bytes:
    written = (_field(1, _field(1, name.encode()) + _field(2, text.encode())) for name, text in sorted(labels.items()))
    sample = b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(seconds * 1000))
    return b"".join(written) + _field(2, sample)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    written.append(number)
    return bytes(written)


def _snappy(content: bytes) -> bytes:
    parts = [content[at : at + _LONGEST_LITERAL] for at in range(0, len(content), _LONGEST_LITERAL)]
    literals = (bytes([61 << 2]) + struct.pack("<H", len(part) - 1) + part for part in parts)
    return _varint(len(content)) + b"".join(literals)
