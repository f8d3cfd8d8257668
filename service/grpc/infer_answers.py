"""Answers to inferences: the bytes of a `ModelInferResponse`, with raw or typed contents."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.at_once import at_once
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.grpc.message_fields import varint
from service.grpc.typed_contents import NUMBERS
from service.open_inference.form import PREDICTIONS, InferForm, Layout, WantedOutput, wanted_outputs
from service.open_inference.outputs import ModelOutputs, element_bytes, little_endian
from service.open_inference.tensors import BYTES, DTYPES

STEP_NUMBERS = 4096  # numbers that are written in one step
_MOST_LAYOUTS = 32  # prepared at a time; a client uses one
_MOST_PREPARED = 4096  # classes whose bytes are prepared
_BYTES_FIELD = bytes((NUMBERS[BYTES] << 3 | 2,))


def field(number: int, value: bytes) -> bytes:
    """Returns a field with a text, bytes or a message."""
    return bytes((number << 3 | 2,)) + varint(len(value)) + value


class InferWriter:
    """Writes the answers of one model version.

    Args:
        served: model version.
    """

    def __init__(self, served: ServedVersion) -> None:
        self.outputs = ModelOutputs(served)
        self.head = field(1, served.name.encode()) + field(2, str(served.version).encode())
        self._raw_labels, self._typed_labels = _labels(self.outputs)
        self._rows: dict[Layout, _RowWriter | None] = {}

    def write(self, answer: Answer, start: int, rows: int, form: InferForm) -> bytes:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        if rows == 1:
            layout = form.layout
            writer = self._rows[layout] if layout in self._rows else self._prepare(layout)
            if writer is not None:
                return writer.write(answer, start, form.id)
        return at_once(self.write_in_steps([answer.matrix[start : start + rows]], form))

    def _prepare(self, layout: Layout) -> _RowWriter | None:
        """Prepares the answers to one row; None for a layout without such answers.

        Raises:
            InvalidRequest: the model has no such output.
        """
        wanted = wanted_outputs(layout, self.outputs.labels)
        if len(self._rows) >= _MOST_LAYOUTS:
            self._rows.clear()
        is_simple = self.outputs.width <= _MOST_PREPARED and not any(output.classes for output in wanted)
        writer = self._rows[layout] = _RowWriter(self, wanted) if is_simple else None
        return writer

    def write_in_steps(self, matrices: Sequence[NDArray[np.float32]], form: InferForm) -> Generator[int, None, bytes]:
        """Writes a large answer in steps.

        Args:
            matrices: `(rows, width)` float32 answers each, in the order of the rows.
            form: form of the answer.

        Yields:
            The number of bytes written by a step.

        Returns:
            The message, as the generator's value.
        """
        rows = sum(map(len, matrices))
        begin = [self.head, _id(form.id)]
        ends: list[bytes] = []
        for output in wanted_outputs(form.layout, self.outputs.labels):
            parts: list[bytes] = []
            for matrix in matrices:
                block = max(1, STEP_NUMBERS // matrix.shape[1])
                for first in range(0, len(matrix), block):
                    parts.append(self.elements(output, matrix[first : first + block]))
                    yield len(parts[-1])
            declared = self.declared(output, rows)
            size = sum(map(len, parts))
            if output.is_binary:
                begin.append(field(5, declared))
                ends += (b"\x32", varint(size), *parts)
            else:
                contents = [_tag(self.datatype(output)), varint(size), *parts] if self.is_packed(output) else parts
                size = sum(map(len, contents))
                inner = b"\x2a" + varint(size)
                begin += (b"\x2a", varint(len(declared) + len(inner) + size), declared, inner, *contents)
        return b"".join((*begin, *ends))

    def datatype(self, output: WantedOutput) -> str:
        """Returns the datatype of an output."""
        return BYTES if output.classes else self.outputs.datatype if output.name == PREDICTIONS else "FP32"

    def is_packed(self, output: WantedOutput) -> bool:
        """Returns True if the typed elements of an output are one field; texts are a field each."""
        return self.datatype(output) != BYTES

    def declared(self, output: WantedOutput, rows: int) -> bytes:
        """Returns the fields of an `InferOutputTensor` before its contents."""
        shape = b"".join([varint(size) for size in self.outputs.shape(output.name, rows, output.classes)])
        return field(1, output.name.encode()) + field(2, self.datatype(output).encode()) + field(3, shape)

    def elements(self, output: WantedOutput, matrix: NDArray[np.float32]) -> bytes:
        """Returns the elements of an output for some rows: raw, or as in a field of typed contents."""
        outputs = self.outputs
        if output.classes:
            texts = outputs.most_probable(matrix, output.classes)
            return element_bytes(texts) if output.is_binary else b"".join([_text(text) for text in texts])
        if output.name == PREDICTIONS and outputs.labels is not None:
            labels = self._raw_labels if output.is_binary else self._typed_labels
            return b"".join([labels[class_] for class_ in matrix.argmax(axis=1).tolist()])
        numbers = outputs.values(matrix) if output.name == PREDICTIONS else matrix
        return little_endian(numbers)

    def numbers_of_batch(self, answer: Answer) -> tuple[list[bytes], list[int]]:
        """Returns the numbers of each row of a batch, as bytes, and the class of each row; keeps both."""
        memo = answer.memos.get(self)
        if memo is None:
            matrix, outputs = answer.matrix, self.outputs
            data = little_endian(outputs.values(matrix) if outputs.labels is None else matrix)
            size = len(data) // len(matrix)
            rows = [data[at : at + size] for at in range(0, len(data), size)]
            classes = [0] * len(rows) if outputs.labels is None else matrix.argmax(axis=1).tolist()
            memo = answer.memos[self] = rows, classes
        return memo


class _RowWriter:
    """Writes answers to one row, whose bytes are the same for all rows of a class but for the numbers.

    Args:
        writer: writer of the model version.
        wanted: outputs of the answers.
    """

    def __init__(self, writer: InferWriter, wanted: Sequence[WantedOutput]) -> None:
        self._writer = writer
        outputs = writer.outputs
        numeric = PREDICTIONS if outputs.labels is None else "probabilities"
        self._has_numbers = any(output.name == numeric for output in wanted)
        self._pieces: list[tuple[bytes, bytes]] = []
        for class_ in range(outputs.width if outputs.labels is not None else 1):
            matrix = np.zeros((1, outputs.width), np.float32)
            matrix[0, class_] = 1
            texts, raws = [b""], [b""]  # a second piece follows the numbers
            for output in wanted:
                elements, declared = writer.elements(output, matrix), writer.declared(output, 1)
                is_numeric = output.name == numeric
                if output.is_binary:
                    texts[-1] += field(5, declared)
                    raws[-1] += b"\x32" + varint(len(elements)) + (b"" if is_numeric else elements)
                    raws += [b""] * is_numeric
                else:
                    head = _tag(writer.datatype(output)) + varint(len(elements)) if writer.is_packed(output) else b""
                    size = len(head) + len(elements)
                    inner = b"\x2a" + varint(size)
                    texts[-1] += b"\x2a" + varint(len(declared) + len(inner) + size) + declared + inner + head
                    if is_numeric:
                        texts.append(b"")
                    else:
                        texts[-1] += elements
            if len(texts) > 1:
                self._pieces.append((texts[0], texts[1] + raws[0]))
            elif len(raws) > 1:
                self._pieces.append((texts[0] + raws[0], raws[1]))
            else:
                self._pieces.append((texts[0] + raws[0], b""))

    def write(self, answer: Answer, row: int, id_: str | None) -> bytes:
        """Writes the answer to row `row` of a batch."""
        rows, classes = self._writer.numbers_of_batch(answer)
        before, after = self._pieces[classes[row]]
        numbers = rows[row] if self._has_numbers else b""
        if id_:
            return b"".join((self._writer.head, _id(id_), before, numbers, after))
        return b"".join((self._writer.head, before, numbers, after))


def _labels(outputs: ModelOutputs) -> tuple[list[bytes], list[bytes]]:
    """Returns each label as a raw element, and as an element of typed contents."""
    elements = outputs.label_elements
    if outputs.datatype == BYTES:
        return [element_bytes([element]) for element in elements], [_text(element) for element in elements]
    raw = [label.tobytes() for label in np.array(elements, dtype=DTYPES[outputs.datatype])]
    if outputs.datatype == "FP64":
        return raw, [struct.pack("<d", label) for label in elements]
    return raw, [varint(int(label) % (1 << 64)) for label in elements]  # negative numbers as two's complement


def _tag(datatype: str) -> bytes:
    """Returns the tag of the field of typed contents for a datatype."""
    return bytes((NUMBERS[datatype] << 3 | 2,))


def _text(element: bytes) -> bytes:
    return _BYTES_FIELD + varint(len(element)) + element


def _id(id_: str | None) -> bytes:
    return field(3, id_.encode()) if id_ else b""
