"""A format keeps much of earlier requests, which never changes the meaning of a request."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from infer_bodies import InferHead, binary_tensor, element_bytes, tensor, with_bytes

from models.columns.encoding import NamedColumns
from models.errors import RowError
from service.errors import InvalidRequest
from service.http.wire.open_inference_format import BinaryInferFormat, JsonInferFormat

Sent = tuple[bytes, int | None]


class Formats:
    """Both forms of the protocol over HTTP."""

    def __init__(self) -> None:
        self._json, self._binary = JsonInferFormat(), BinaryInferFormat()

    def meaning(self, sent: Sent) -> Any:
        """Returns what a request means, in plain values."""
        body, length = sent
        wire = self._json if length is None else self._binary
        try:
            named, rows, may_hold_booleans, form = wire.read(body, "m", InferHead(length))
        except (InvalidRequest, RowError):
            return "refused"
        return named, plain(rows), may_hold_booleans, form.id, form.layout, form.seconds  # type: ignore[union-attr]


def plain(rows: Any) -> Any:
    """Returns rows of any form as lists of typed values."""
    if isinstance(rows, NamedColumns):
        return {name: plain(cells) for name, cells in rows.by_name.items()}
    if isinstance(rows, memoryview):
        return bytes(rows)
    return repr(rows.tolist() if isinstance(rows, np.ndarray) else rows)


LISTS = [
    "[1,2]", "[3,4.5]", "[ 5 , -6e1 ]", "[null,1]", "[true,1]", "[false,0]", "[]", "[1]", "[1,2,3,4]", "[[1,2]]",
    "[[1,2],[3,4]]", '["a","b"]',
    "[{},{}]", "[[],[]]", "[1,]", "[1 2]", "[1e400,0]", "[NaN,1]", "[1,2",
    "[18446744073709551616,1]",
    "[9007199254740993,1]", '["]",1]', "[1,\n2]", "[-0,-0.0]", '[1,2],"data":[3,4]',
    '[1,2]}],"x":[{"data":[3,4]', "null", "5",
]  # fmt: skip
FRAMES = [
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":@}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":@}],"id":"a]b"}',
    '{"id":"","inputs":[{"data":@,"name":"x","shape":[1,2],"datatype":"FP32"}]}',
    '{"id":"[1,2]","inputs":[{"name":"data","shape":[2,2],"datatype":"FP32","data":@}]}',
    '{"id":"data","inputs":[{"name":"data","shape":[1,2],"datatype":"FP32","data":@}]}',
    r'{"id":"\"data\":[1,2]","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":@}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"INT32","data":@}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"BYTES","data":@}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"BF16","data":@}]}',
    '{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":@}]}',
    '{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":@}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":@,"data":[7,8]}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[7,8],"data":@}]}',
    '{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":@},{"name":"y","shape":[2],"datatype":"FP32","data":@}]}',
    '{"parameters":{"data":@},"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[7,8]}]}',
    '{"inputs":[{"name":"x","shape":@,"datatype":"FP32","data":[7,8]}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":@}],"outputs":[{"name":"predictions"}]}',
    '{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":@}],"parameters":{"timeout":5000}}',
    '{"outputs":@,"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[7,8]}]}',
    '[{"data":@}]', '"data"@', '{"data":@}', '"data":@', '@',
]  # fmt: skip
damages = st.tuples(st.integers(0, 200), st.sampled_from(["", '"', "[", "]", ",", "{", "}", " ", "1", "data"]))


def framed(frame: str, data: str) -> Sent:
    return frame.replace("@", data).encode(), None


@st.composite
def binaries(draw: st.DrawFn) -> Sent:
    """Generates a request in binary form, whose parts may not fit."""
    datatype = draw(st.sampled_from(["FP32", "FP32", "FP64", "INT64", "BOOL", "FP16", "BYTES"]))
    shape = draw(st.sampled_from([(1, 2), (1, 2), (2, 2), (2, 1), (4,)]))
    values = draw(st.lists(st.integers(0, 1), min_size=4, max_size=4))[: draw(st.sampled_from([2, 2, 4]))]
    elements = list(map(str, values)) if datatype == "BYTES" else values
    part = element_bytes(datatype, elements)
    given = binary_tensor("x", datatype, shape, len(part))
    if draw(st.integers(0, 5)) == 0:
        given = tensor("x", datatype, shape, elements)
    document = {"inputs": [given], **draw(st.sampled_from([{}, {"id": "7"}, {"id": None}, {"outputs": []}]))}
    body, length = with_bytes(document, part)
    length += draw(st.sampled_from([0] * 8 + [-1, 1, -length]))
    body += bytes(draw(st.sampled_from([0] * 8 + [1, 4, 8])))
    return bytearray(body) if draw(st.booleans()) else body, length  # type: ignore[return-value]


@st.composite
def damaged(draw: st.DrawFn) -> Sent:
    """Generates a request in JSON with a damaged place."""
    text = draw(st.sampled_from(FRAMES)).replace("@", draw(st.sampled_from(LISTS)))
    at, token = draw(damages)
    return (text[:at] + token + text[at + draw(st.integers(0, 2)) :]).encode(), None


sent = st.builds(framed, st.sampled_from(FRAMES), st.sampled_from(LISTS)) | binaries() | damaged()


@settings(max_examples=100)
@given(requests=st.lists(sent, min_size=1, max_size=12), repeats=st.integers(2, 4), seed=st.integers(0, 1000))
def test_a_request_means_the_same_to_a_format_of_long_standing(requests: list[Sent], repeats: int, seed: int) -> None:
    standing = Formats()
    order = requests * repeats
    random.Random(seed).shuffle(order)
    for request in order:
        assert standing.meaning(request) == Formats().meaning(request), request


@pytest.mark.parametrize("frame", FRAMES)
def test_any_list_in_any_frame_means_the_same_after_all_others(frame: str) -> None:
    standing = Formats()
    for _ in range(3):
        for data in LISTS:
            request = framed(frame, data)
            assert standing.meaning(request) == Formats().meaning(request), request


def test_repeated_requests_are_kept_and_their_number_is_bounded() -> None:
    wire = JsonInferFormat()
    for number in range(2_000):
        for _ in range(3):
            document = {"inputs": [tensor("x", "FP32", (1, 2), [1, 2])], "id": str(number)}
            wire.read(json.dumps(document).encode(), "m", InferHead(None))
    assert 0 < len(wire._envelopes._known) <= 256
    assert len(wire._envelopes._seen) <= 256
