"""Frames: decoding gives the encoded content, however the stream is cut; other bytes are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.stream import frames
from service.stream.frames import FrameError, FrameReader, Kind

SEGMENTS = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@given(segments=SEGMENTS, width=st.integers(1, 7), cuts=st.lists(st.integers(1, 50), max_size=20))
@pytest.mark.slow
def test_a_stream_gives_the_same_frames_however_it_is_cut(segments: list[int], width: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=(rows, width)).astype(np.float32) for rows in segments]
    stream = b"".join(
        frames.encode_predict(id_, f"iris@{id_}#sha256:00", segments, [block.tobytes() for block in blocks])
        for id_ in range(3)
    )
    reader, found, at = FrameReader(), [], 0
    for size in [*cuts, len(stream)]:
        found += reader.feed(stream[at : at + size])
        at += size
    assert [frame.id for frame in found] == [0, 1, 2]
    for frame in found:
        batch = frames.decode_predict(frame.payload)
        assert (frame.kind, batch.key, list(batch.segments)) == (
            Kind.PREDICT,
            f"iris@{frame.id}#sha256:00",
            segments,
        )
        np.testing.assert_array_equal(batch.matrix(), np.concatenate(blocks))


def test_an_answer_carries_its_faults_by_segment() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    [frame] = FrameReader().feed(frames.encode_answer(7, matrix, {1: "not finite", 2: "Ünerhört"}, 0.25))
    answer = frames.decode_answer(frame.payload)
    np.testing.assert_array_equal(answer.matrix, matrix)
    assert (frame.id, answer.faults, answer.finished) == (7, {1: "not finite", 2: "Ünerhört"}, 0.25)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_frame_raise_frame_error_alone(garbage: bytes) -> None:
    for read in (lambda: FrameReader().feed(garbage), lambda: frames.decode_predict(garbage)):
        try:
            read()
        except FrameError:
            continue
    try:
        frames.decode_answer(garbage)
    except FrameError:
        return


def test_a_length_beyond_any_batch_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(FrameError):
        FrameReader().feed(b"\xff\xff\xff\xff\x01" + bytes(11))
