"""The frames that an API process and an inference worker exchange over a Unix stream: bytes, and nothing but.

    frame     = length u32 · kind u8 · padding · id u64 · payload        (little-endian; length is the payload's)
    PREDICT   = segments u32 · key length u16 · padding · deadline f64 ·
                key · rows u32 × segments · float32 × rows × width
    ANSWER    = rows u32 · width u32 · faults u32 · padding · finished f64 ·
                (segment u32 · length u16 · text) × faults · float32 × rows × width
    LOAD      = key: asks for a model version to be made ready
    LOADED    = JSON: what was loaded, or the reason why not
    HELLO     = JSON: who the worker is; its first frame on every connection
    PING      = nothing: asks whether the worker still takes frames
    PONG      = nothing: it does
    RETRY     = as PREDICT, of rows that a worker died with: to be run by themselves, and STARTED said before
    STARTED   = nothing: the forward pass of a RETRY is about to begin
    RESTORE   = key: as LOAD, for a version that was served before: from memory or the copy that was kept of it
    REFUSED   = JSON: instead of an ANSWER, why this worker cannot load the model version

The values that a regression answers with lack its target's origin, which the API process adds in float64.
A segment is the rows of one request: when a model fails on a batch, the fault is told for the segments that caused it.
After `deadline`, on the monotonic clock, nobody waits for the batch any more, and it needs no forward pass.
A key is `name@version#digest`, so that a version whose file was replaced is another key. Ids are the API process's own.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | bytearray | memoryview

_HEAD = struct.Struct("<IB3xQ")
_PREDICT = struct.Struct("<IH2xd")
_ANSWER = struct.Struct("<III4xd")
_FAULT = struct.Struct("<IH")  # heads are padded so that an answer's floats are aligned where they arrive
MAX_PAYLOAD = 1 << 31  # far above any batch; a length beyond it means that the stream is out of step
_MAX_FAULT_TEXT = 2_000


class Kind(IntEnum):
    """What a frame is."""

    PREDICT = 1
    ANSWER = 2
    LOAD = 3
    LOADED = 4
    HELLO = 5
    PING = 6
    PONG = 7
    RETRY = 8
    STARTED = 9
    RESTORE = 10
    REFUSED = 11


_KINDS = frozenset(Kind)


class FrameError(Exception):
    """Bytes that are not a frame: the connection is given up."""


# These are not frozen: one is made for each batch, and a frozen one takes four times as long.


@dataclass(slots=True)
class Frame:
    """One frame as received."""

    kind: Kind
    id: int
    payload: Buffer


@dataclass(slots=True)
class PredictFrame:
    """A batch: the rows of several requests for one model version, one after the other.

    `data` holds float32 rows; `segments` holds how many belong to each request; nobody waits beyond `deadline`.
    """

    key: str
    segments: tuple[int, ...]
    data: memoryview
    deadline: float = math.inf

    @property
    def rows(self) -> int:
        """Rows of all segments."""
        return sum(self.segments)

    def matrix(self) -> NDArray[np.float32]:
        """The rows as a `(rows, width)` array over the received bytes."""
        return np.frombuffer(self.data, dtype="<f4").reshape(self.rows, -1)


@dataclass(slots=True)
class AnswerFrame:
    """A batch's answers.

    Attributes:
        matrix: `(rows, width)` answers, row for row.
        faults: what went wrong, by segment.
        finished: when the worker had them, on the monotonic clock, which all processes of a machine share.
    """

    matrix: NDArray[np.float32]
    faults: dict[int, str]
    finished: float


def encode(kind: Kind, id_: int, payload: Buffer = b"") -> bytes:
    """A frame around a payload."""
    return _HEAD.pack(len(payload), kind, id_) + payload


def encode_predict(
    id_: int,
    key: str,
    segments: Sequence[int],
    data: Sequence[Buffer],
    deadline: float = math.inf,
    *,
    kind: Kind = Kind.PREDICT,
) -> bytes:
    """A PREDICT frame, or a RETRY; `data` holds each segment's float32 rows."""
    name = key.encode()
    head = _PREDICT.pack(len(segments), len(name), deadline) + name + struct.pack(f"<{len(segments)}I", *segments)
    size = len(head) + sum(map(_nbytes, data))
    return b"".join((_HEAD.pack(size, kind, id_), head, *data))


def decode_predict(payload: Buffer) -> PredictFrame:
    """Reads a PREDICT payload.

    Raises:
        FrameError: it is not one.
    """
    try:
        count, name_length, deadline = _PREDICT.unpack_from(payload)
        at = _PREDICT.size + name_length
        key = bytes(payload[_PREDICT.size : at]).decode()
        segments = struct.unpack_from(f"<{count}I", payload, at)
    except (struct.error, UnicodeDecodeError) as error:
        raise FrameError(f"not a PREDICT payload: {error}") from error
    frame = PredictFrame(key, segments, memoryview(payload)[at + 4 * count :], deadline)
    if frame.rows == 0 or len(frame.data) == 0 or len(frame.data) % (4 * frame.rows):
        raise FrameError(f"{len(frame.data)} bytes are not {frame.rows} rows of float32")
    return frame


def encode_answer(id_: int, matrix: NDArray[np.float32], faults: dict[int, str], finished: float) -> bytes:
    """An ANSWER frame."""
    rows, width = matrix.shape
    parts = [_ANSWER.pack(rows, width, len(faults), finished)]
    for segment, text in faults.items():
        raw = text.encode()[:_MAX_FAULT_TEXT]
        parts += (_FAULT.pack(segment, len(raw)), raw)
    parts.append(matrix.tobytes())
    return encode(Kind.ANSWER, id_, b"".join(parts))


def decode_answer(payload: Buffer) -> AnswerFrame:
    """Reads an ANSWER payload.

    Raises:
        FrameError: it is not one.
    """
    faults = {}
    try:
        rows, width, count, finished = _ANSWER.unpack_from(payload)
        at = _ANSWER.size
        for _ in range(count):
            segment, length = _FAULT.unpack_from(payload, at)
            at += _FAULT.size
            faults[segment] = bytes(payload[at : at + length]).decode(errors="replace")
            at += length
        matrix = np.frombuffer(payload, dtype="<f4", offset=at).reshape(rows, width)
        if not matrix.flags.aligned:
            matrix = matrix.copy()
    except (struct.error, ValueError) as error:
        raise FrameError(f"not an ANSWER payload: {error}") from error
    return AnswerFrame(matrix, faults, finished)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = _HEAD.size  # bytes without which nothing more can be cut

    def feed(self, data: Buffer) -> list[Frame]:
        """The frames that are complete once `data` has come; what is left waits for the rest.

        Raises:
            FrameError: the bytes are no frame.
        """
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return []
            data, self._rest = bytes(self._rest), bytearray()
        frames: list[Frame] = []
        view, at = memoryview(data), 0
        self._wanted = _HEAD.size
        while len(view) - at >= _HEAD.size:
            length, kind, id_ = _HEAD.unpack_from(view, at)
            if length > MAX_PAYLOAD or kind not in _KINDS:
                raise FrameError(f"a frame of kind {kind} and {length} bytes")
            end = at + _HEAD.size + length
            if end > len(view):
                self._wanted = end - at
                break
            frames.append(Frame(Kind(kind), id_, view[at + _HEAD.size : end]))
            at = end
        self._rest += view[at:]
        return frames


def _nbytes(data: Buffer) -> int:
    return data.nbytes if isinstance(data, memoryview) else len(data)
