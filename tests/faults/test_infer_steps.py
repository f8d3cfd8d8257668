"""No step of reading an inference request holds the event loop for long, whatever the request is made of."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from itertools import cycle, islice
from typing import Any

import pytest
from infer_bodies import element_bytes, with_bytes
from large_infer_requests import DATES, LARGE, NUMBERS, at_once, large_request, number, packed, schema

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn
from models.errors import RowError
from service.errors import InvalidRequest
from service.http.wire.open_inference_format import BinaryInferFormat
from service.http.wire.open_inference_reader import InferReader
from service.large_reading import LargeReading

pytestmark = pytest.mark.faults

LONG_SECONDS = 0.01  # of the processor, for one step, as the event loop promises; steps take 1 ms


@pytest.mark.parametrize("kind", LARGE)
def test_a_large_request_is_read_in_short_steps(kind: str) -> None:
    encoder, body, length = large_request(kind)
    gc.collect()
    gc.freeze()  # as the server does: the collector leaves alone what was there before the request
    try:
        assert min(longest_step(encoder, body, length) for _ in range(3)) < LONG_SECONDS
    finally:
        gc.unfreeze()


def longest_step(encoder: RowEncoder, body: bytes, length: int | None) -> float:
    """Returns the processor seconds of the longest step of reading a request."""
    reader = InferReader(body, "m", len(body) if length is None else length, NUMBERS)
    steps = LargeReading(reader, encoder, most_rows=10**6).steps()
    longest = 0.0
    while True:
        began = time.thread_time()
        try:
            if next(steps, "end") == "end":
                return longest
        except (InvalidRequest, RowError):
            return longest
        finally:
            longest = max(longest, time.thread_time() - began)


IGNORANT = schema(CategoricalColumn(name="d", categories=("a", "b"), unknown="ignore", missing="ignore"))
DATES_WITH_GAPS = schema(replace(DATES, name="d", missing="indicator"))


@pytest.mark.parametrize("encoder", [IGNORANT, DATES_WITH_GAPS, schema(number("d", missing="mean"))])
@pytest.mark.parametrize(
    ("datatype", "elements"),
    [
        ("BYTES", [""]), ("BYTES", [f"{i:04x}" for i in range(5000)]), ("BYTES", [" 2020-01-01 "]), ("BOOL", [True]),
        ("INT8", [5]), ("UINT64", [2**64 - 1]), ("FP16", [float("nan")]), ("FP64", [5.5]),
    ],
)  # fmt: skip
def test_a_body_of_any_size_holds_the_event_loop_for_a_short_time(
    encoder: RowEncoder, datatype: str, elements: list[Any]
) -> None:
    """Reads the worst cells for each column, in a body that is read at once, and in one that is read in steps."""
    for size in (BinaryInferFormat.in_steps_from - 500, 100_000):
        count = size // max(1, len(element_bytes(datatype, elements)) // len(elements))
        given, part = packed("d", datatype, (count,), list(islice(cycle(elements), count)))
        body, length = with_bytes({"inputs": [given]}, part)
        held = at_once_seconds if len(body) < BinaryInferFormat.in_steps_from else longest_step
        gc.collect()
        gc.freeze()
        try:
            assert min(held(encoder, body, length) for _ in range(3)) < LONG_SECONDS
        finally:
            gc.unfreeze()


def at_once_seconds(encoder: RowEncoder, body: bytes, length: int) -> float:
    """Returns the processor seconds of reading a request at once."""
    began = time.thread_time()
    at_once(encoder, body, length)
    return time.thread_time() - began
