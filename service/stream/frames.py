"""The frames that an API process and an inference worker exchange over a Unix stream, as raw bytes.

    frame     = length u32 · kind u8 · padding · id u64 · payload        (little-endian; length is the payload's)
    PREDICT   = segments u32 · key length u16 · padding · deadline f64 ·
                key · rows u32 × segments · float32 × rows × width
    ANSWER    = rows u32 · width u32 · faults u32 · seconds f32 · finished f64 ·
                (segment u32 · length u16 · text) × faults · float32 × rows × width
    LOAD      = key: asks the worker to load a model version from the store
    LOADED    = JSON: facts about the loaded version, or the reason why it was not loaded
    HELLO     = JSON: facts about the worker; the first frame that it sends on every connection
    PING      = empty: asks whether the worker still handles frames
    PONG      = empty: the answer to a PING
    RETRY     = as PREDICT, for rows of a worker that died; they form a batch of their own, and STARTED is sent first
    STARTED   = empty: the forward pass of a RETRY is about to begin
    RESTORE   = key: as LOAD, for a version that was served before: from memory or from its kept copy
    REFUSED   = JSON: sent in place of an ANSWER, the reason why this worker cannot load the model version

Answers of a regression do not include the target's origin, which the API process adds in float64.
A segment is the rows of one request. If a model fails on a batch, faults are sent for the segments that caused it.
After `deadline`, on the monotonic clock, no client waits for the batch, and the worker skips its forward pass.
A key is `name@version#digest`, so a version whose file was replaced has a new key. API processes choose the ids.
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
_ANSWER = struct.Struct("<IIIfd")
_FAULT = struct.Struct("<IH")  # heads are padded so that an answer's floats are aligned in the received bytes
MAX_PAYLOAD = 1 << 31  # far above any batch; a larger length means that the stream is out of step
_MAX_FAULT_TEXT = 2_000


class Kind(IntEnum):
    """The kinds of frames."""

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
    """An error for bytes that are not a frame; the connection cannot be used any more."""


# These classes are not frozen. One object is made for each batch, and making a frozen one takes four times as long.


@dataclass(slots=True)
class Frame:
    """One received frame."""

    kind: Kind
    id: int
    payload: Buffer


@dataclass(slots=True)
class PredictFrame:
    """The decoded payload of a PREDICT frame: the rows of several requests for one model version.

    Attributes:
        key: key of the model version.
        segments: number of rows of each request.
        data: float32 rows of all requests, one after the other.
        deadline: time on the monotonic clock after which no client waits, in seconds.
    """

    key: str
    segments: tuple[int, ...]
    data: memoryview
    deadline: float = math.inf

    @property
    def rows(self) -> int:
        """Number of rows in all segments."""
        return sum(self.segments)

    def matrix(self) -> NDArray[np.float32]:
        """Returns the rows as a `(rows, width)` array over the received bytes."""
        return np.frombuffer(self.data, dtype="<f4").reshape(self.rows, -1)


@dataclass(slots=True)
class AnswerFrame:
    """The decoded payload of an ANSWER frame: the answers to a batch.

    Attributes:
        matrix: `(rows, width)` answers, row for row.
        faults: reasons of faults, by the index of the segment.
        finished: end of the forward pass on the monotonic clock, which all processes of a machine share, in seconds.
        seconds: time of the forward pass, in seconds, as float32.
    """

    matrix: NDArray[np.float32]
    faults: dict[int, str]
    finished: float
    seconds: float = 0.0


def encode(kind: Kind, id_: int, payload: Buffer = b"") -> bytes:
    """Returns a frame with a payload."""
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
    """Returns a PREDICT frame, or a RETRY.

    Args:
        id_: id of the batch, which the answer repeats.
        key: key of the model version.
        segments: number of rows of each request.
        data: blocks of float32 rows, whose concatenation holds the rows of all segments.
        deadline: time on the monotonic clock after which no client waits, in seconds.
        kind: `Kind.PREDICT` or `Kind.RETRY`.
    """
    name = key.encode()
    head = _PREDICT.pack(len(segments), len(name), deadline) + name + struct.pack(f"<{len(segments)}I", *segments)
    size = len(head) + sum(map(_nbytes, data))
    return b"".join((_HEAD.pack(size, kind, id_), head, *data))


def decode_predict(payload: Buffer) -> PredictFrame:
    """Decodes the payload of a PREDICT or RETRY frame.

    Raises:
        FrameError: the bytes are not such a payload.
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


def encode_answer(
    id_: int, matrix: NDArray[np.float32], faults: dict[int, str], finished: float, seconds: float = 0.0
) -> bytes:
    """Returns an ANSWER frame.

    Args:
        id_: id of the batch.
        matrix: `(rows, width)` float32 answers.
        faults: reasons of faults, by the index of the segment.
        finished: end of the forward pass on the monotonic clock, in seconds.
        seconds: time of the forward pass, in seconds; 0 if there was none.
    """
    rows, width = matrix.shape
    parts = [_ANSWER.pack(rows, width, len(faults), seconds, finished)]
    for segment, text in faults.items():
        raw = text.encode()[:_MAX_FAULT_TEXT]
        parts += (_FAULT.pack(segment, len(raw)), raw)
    parts.append(matrix.tobytes())
    return encode(Kind.ANSWER, id_, b"".join(parts))


def decode_answer(payload: Buffer) -> AnswerFrame:
    """Decodes the payload of an ANSWER frame.

    Raises:
        FrameError: the bytes are not such a payload.
    """
    faults = {}
    try:
        rows, width, count, seconds, finished = _ANSWER.unpack_from(payload)
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
    return AnswerFrame(matrix, faults, finished, seconds)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = _HEAD.size  # number of bytes that the next frame needs, as far as known

    def feed(self, data: Buffer) -> list[Frame]:
        """Returns the frames that `data` completes; keeps the bytes of an incomplete frame for the next call.

        Raises:
            FrameError: the bytes are not a frame.
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
