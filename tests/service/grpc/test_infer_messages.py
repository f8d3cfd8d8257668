"""Messages of `ModelInfer`, requests and answers, beside protobuf's own parser."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from grpc_client import DTYPES, FIELDS, message_class, raw_texts, texts_of
from hypothesis import given
from hypothesis import strategies as st
from serving import make_checkpoint, numeric

from models.columns.named_columns import NamedColumns
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.errors import AxonError
from service.batching.ticket import Answer
from service.errors import InvalidRequest, TooLarge
from service.grpc import message_fields
from service.grpc.compression import inflate_in_steps, inflated
from service.grpc.infer_answers import InferWriter
from service.grpc.infer_requests import InferReader, peek_reference
from service.open_inference.form import InferForm, Layout, WantedOutput

REQUEST = message_class("inference.ModelInferRequest")
RESPONSE = message_class("inference.ModelInferResponse")


def done(steps: Generator[Any, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def outcome(read: Any) -> Any:
    """Returns a comparable form of what a reader says about a request."""
    try:
        reference, rows, may_hold_booleans, form = read()
    except AxonError as error:
        return type(error)
    if isinstance(rows, NamedColumns):
        cells: Any = {name: np.asarray(column).tolist() for name, column in rows.by_name.items()}
    else:
        cells = np.asarray(rows).tolist()
    return reference, repr(cells), may_hold_booleans, form.id, form.layout, form.seconds


names = st.text(max_size=3)
shapes = st.lists(st.integers(-1, 4), max_size=3)
parameters = st.dictionaries(
    st.sampled_from(["timeout", "binary_data", "classification", "shared_memory_region", "x"]),
    st.one_of(
        st.builds(lambda value: {"int64_param": value}, st.integers(-5, 5)),
        st.builds(lambda value: {"bool_param": value}, st.booleans()),
        st.builds(lambda value: {"string_param": value}, names),
    ),
    max_size=2,
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Makes requests, many of which are valid."""
    is_raw = draw(st.booleans())
    count = draw(st.integers(0, 3))
    fields: dict[str, Any] = {"inputs": [], "raw_input_contents": []}
    for position in range(count):
        datatype = draw(st.sampled_from([*DTYPES, "BYTES", "FP99"]))
        rows, columns = draw(st.integers(1, 3)), draw(st.integers(1, 3))
        shape = draw(st.one_of(st.just([rows, columns if count == 1 else 1]), shapes))
        size = rows * (columns if count == 1 else 1)
        given_ = {"name": f"c{position}", "datatype": datatype, "shape": shape, "parameters": draw(parameters)}
        texts = draw(st.lists(st.text(max_size=3), min_size=size, max_size=size))
        numbers = draw(st.lists(st.integers(0, 1), min_size=size, max_size=size))
        if is_raw:
            raw = raw_texts(texts) if datatype not in DTYPES else np.array(numbers, DTYPES[datatype]).tobytes()
            fields["raw_input_contents"].append(raw)
        if not is_raw or draw(st.integers(0, 20)) == 0:
            field = FIELDS.get(datatype, "fp32_contents")
            values: Any = [text.encode() for text in texts] if field == "bytes_contents" else numbers
            given_["contents"] = {field: values}
        fields["inputs"].append(given_)
    request = REQUEST(
        model_name=draw(names),
        model_version=draw(st.sampled_from(["", "1"])),
        id=draw(names),
        parameters=draw(parameters),
        outputs=[{"name": "predictions", "parameters": draw(parameters)}] * draw(st.integers(0, 1)),
        **fields,
    )
    message: bytes = request.SerializeToString()
    if draw(st.integers(0, 3)) == 0:  # damaged
        at = draw(st.integers(0, max(0, len(message) - 1)))
        message = message[:at] + draw(st.binary(max_size=3)) + message[at + draw(st.integers(0, 3)) :]
    return message


@given(requests(), st.integers(1, 40))
def test_reading_in_steps_is_reading_in_one_go(message: bytes, chunk: int) -> None:
    """Compares the walk over the fields with protobuf's parser, for any size of the pieces."""
    before, message_fields._CHUNK_BYTES = message_fields._CHUNK_BYTES, chunk
    try:
        stepwise = outcome(lambda: done(InferReader().read_in_steps(message)))
    finally:
        message_fields._CHUNK_BYTES = before
    assert stepwise == outcome(lambda: InferReader().read(message))


@given(requests())
def test_a_known_envelope_changes_nothing(message: bytes) -> None:
    reader = InferReader()
    first = outcome(lambda: reader.read(message))
    for _ in range(3):
        assert outcome(lambda: reader.read(message)) == first


def test_other_numbers_in_a_known_envelope_are_read() -> None:
    reader = InferReader()
    for position in range(5):
        row = np.arange(4, dtype=np.float32) + position
        message = REQUEST(
            model_name="m",
            inputs=[{"name": "x", "datatype": "FP32", "shape": [1, 4]}],
            raw_input_contents=[row.tobytes()],
        ).SerializeToString()
        reference, rows, _, _ = reader.read(message)
        assert (reference, np.asarray(rows).tolist()) == ("m", [row.tolist()])
        assert peek_reference(message) == "m"


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (lambda: InferReader().read(data), lambda: done(InferReader().read_in_steps(data))):
        outcome(read)
    peek_reference(data)


@pytest.mark.slow
def test_too_many_tensors_are_refused_early() -> None:
    for message in (REQUEST(raw_input_contents=[b""] * 200_000), REQUEST(inputs=[{"name": "a"}] * 400_000)):
        with pytest.raises(TooLarge):
            done(InferReader().read_in_steps(message.SerializeToString()))


@given(st.binary(max_size=50), st.sampled_from([b"gzip", b"deflate"]))
def test_damaged_compression_is_refused(data: bytes, encoding: bytes) -> None:
    with pytest.raises(InvalidRequest):
        inflated(data, encoding, 1000)


def test_compression_ends_at_the_limit() -> None:
    bomb = zlib.compress(bytes(10_000_000))
    steps = inflate_in_steps(bomb, b"deflate", 1_000_000)
    with pytest.raises(TooLarge):
        list(islice(steps, 20))
    assert inflated(zlib.compress(b"abc"), b"deflate", 3) == b"abc"


class Served:
    """The parts of a model version that a writer uses."""

    def __init__(self, labels: tuple[Any, ...] | None, origin: float = 0.0) -> None:
        target: Any = (
            NumericTarget(name="y", mean=0, std=1, minimum=0, maximum=1)
            if labels is None
            else ClassTarget(name="y", labels=labels)
        )
        self.schema = make_checkpoint(Schema(columns=(numeric("x"),), target=target)).schema
        self.name, self.version, self.labels, self.origin = "m", 3, labels, origin


LABELS: list[tuple[Any, ...] | None] = [
    ("a", "b, \N{SNOWMAN}"),
    (-(2**63), 5),
    (0, 2**64 - 1),
    (-1, 2**64 - 1),
    (False, True),
    (0.5, 1.5),
    None,
]


def elements(answer: Any, position: int) -> list[Any]:
    """Returns the elements of an output, raw or typed."""
    output = answer.outputs[position]
    if not answer.raw_output_contents:
        found = list(getattr(output.contents, FIELDS[output.datatype]))
        return [element.decode() if isinstance(element, bytes) else element for element in found]
    raw = answer.raw_output_contents[position]
    if output.datatype == "BYTES":
        return texts_of(raw)
    values: list[Any] = np.frombuffer(raw, DTYPES[output.datatype]).tolist()
    return values


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("is_raw", [True, False])
def test_an_answer_is_what_protobuf_reads(labels: tuple[Any, ...] | None, *, is_raw: bool) -> None:
    rng = np.random.default_rng(0)
    origin = 0.0 if labels is not None else 1e9
    width = 1 if labels is None else len(labels)
    matrix = rng.random((5, width)).astype(np.float32)
    served: Any = Served(labels, origin)
    writer = InferWriter(served)
    expected: dict[str, list[Any]] = {"predictions": (matrix[:, 0].astype(np.float64) + origin).tolist()}
    if labels is not None:
        picked = [labels[class_] for class_ in matrix.argmax(axis=1)]
        is_text = isinstance(labels[0], str) or labels == (-1, 2**64 - 1)
        expected = {"predictions": [str(label) if is_text else label for label in picked]}
        expected["probabilities"] = matrix.ravel().tolist()
    orders: list[tuple[str, ...] | None] = [None, *((name,) for name in expected), tuple(reversed(list(expected)))]
    for order in orders:
        wanted = None if order is None else tuple(WantedOutput(name, is_raw) for name in order)
        form = InferForm(Layout(wanted, is_binary=is_raw), "id \N{SNOWMAN}")
        answer = Answer(matrix)
        whole = RESPONSE.FromString(writer.write(answer, 0, 5, form))
        assert (whole.model_name, whole.model_version, whole.id) == ("m", "3", "id \N{SNOWMAN}")
        assert [output.name for output in whole.outputs] == list(order or expected)
        for position, output in enumerate(whole.outputs):
            assert elements(whole, position) == expected[output.name]
            size = 5 if output.name == "predictions" else 5 * width
            assert np.prod(output.shape) == size
        for row in range(5):
            one = RESPONSE.FromString(writer.write(answer, row, 1, form))
            assert one.id == whole.id
            for position, output in enumerate(one.outputs):
                length = len(expected[output.name]) // 5
                assert elements(one, position) == expected[output.name][row * length : (row + 1) * length]


def test_classes_come_most_probable_first() -> None:
    served: Any = Served(("a", "b", "c"))
    matrix = np.array([[0.2, 0.5, 0.3]], np.float32)
    for is_raw in (True, False):
        form = InferForm(Layout((WantedOutput("probabilities", is_raw, 2),), is_binary=is_raw))
        answer = RESPONSE.FromString(InferWriter(served).write(Answer(matrix), 0, 1, form))
        assert list(answer.outputs[0].shape) == [1, 2]
        assert [text.split(":")[1:] for text in elements(answer, 0)] == [["1", "b"], ["2", "c"]]
