"""A libFuzzer target: any bytes of a stream, in any pieces, are frames or a FrameError.

python tests/fuzz/fuzz_frames.py FOLDER -max_total_time=60
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["service.stream.frames"]):
    from service.stream import frames

_CUTS = 8  # bytes at the end of an input that select the cuts of the stream


def read(data: bytes) -> None:
    """Reads one input of the fuzzer."""
    stream, cuts = data[:-_CUTS], data[-_CUTS:]
    whole, out_of_step = collect([stream])
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    in_pieces = collect([*pieces, stream[at:]])
    # A stream that is out of step is given up; the number of complete frames before that depends on the cuts.
    assert in_pieces[1] == out_of_step
    assert out_of_step or in_pieces[0] == whole
    for kind, _, payload in in_pieces[0]:
        try:
            decode(frames.Kind(kind), payload)
        except frames.FrameError:
            continue
    for kind in (frames.Kind.PREDICT, frames.Kind.ANSWER):  # directly, since random bytes rarely form a valid head
        try:
            decode(kind, stream)
        except frames.FrameError:
            continue


def collect(pieces: list[bytes]) -> tuple[list[tuple[int, int, bytes]], bool]:
    """Returns the frames of a stream, and True if the stream went out of step after these frames."""
    reader, found = frames.FrameReader(), []
    for piece in pieces:
        try:
            found += [(int(frame.kind), frame.id, bytes(frame.payload)) for frame in reader.feed(piece)]
        except frames.FrameError:
            return found, True
    return found, False


def decode(kind: frames.Kind, payload: bytes) -> None:
    """Decodes a payload and checks that encoding the result gives the same content."""
    if kind is frames.Kind.PREDICT:
        batch = frames.decode_predict(payload)
        matrix = batch.matrix()
        assert matrix.shape[0] == batch.rows
        assert matrix.nbytes == len(batch.data)
        again = frames.encode_predict(0, batch.key, batch.segments, [batch.data], batch.deadline)
        assert frames.decode_predict(only_payload(again)).segments == batch.segments
    elif kind is frames.Kind.ANSWER:
        answer = frames.decode_answer(payload)
        assert answer.matrix.nbytes <= len(payload)
        again = frames.encode_answer(0, answer.matrix, answer.faults, answer.finished)
        assert frames.decode_answer(only_payload(again)).matrix.tobytes() == answer.matrix.tobytes()


def only_payload(frame: bytes) -> frames.Buffer:
    """Returns the payload of a stream of one frame."""
    [only] = frames.FrameReader().feed(frame)
    return only.payload


def write_seeds(folder: Path) -> None:
    """Writes streams of valid frames."""
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    sound = {
        "predict": frames.encode_predict(1, "iris@1#ab", [1, 2], [rows[:1].tobytes(), rows[1:].tobytes()]),
        "answer": frames.encode_answer(1, rows, {}, 0.001),
        "faults": frames.encode_answer(2, rows[:0], {0: "no", 1: "é" * 20}, 0.001),
        **{kind.name: frames.encode(kind, 3, b'{"error": null}') for kind in frames.Kind},
    }
    sound["together"] = b"".join(sound.values())
    for name, stream in sound.items():
        (folder / name).write_bytes(stream + bytes(range(_CUTS)))


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
