"""Answers of the Open Inference Protocol over HTTP: JSON, perhaps followed by tensors as bytes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.at_once import at_once
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.http.wire.json_answers import number_text
from service.http.wire.wire_format import STEP_NUMBERS, AnswerHeaders, AnswerWriter, Payload, WrittenAnswer
from service.open_inference.form import PREDICTIONS, PROBABILITIES, InferForm, Layout, WantedOutput, wanted_outputs
from service.open_inference.outputs import ModelOutputs, element_bytes, little_endian
from service.open_inference.tensors import BYTES, DTYPES

HEADER_LENGTH = b"inference-header-content-length"
BINARY_TYPE = b"application/octet-stream"

_MOST_PREPARED = 512  # classes whose texts are prepared, at once and for each layout, in about 4 ms
_STEP_CLASSES = 4096  # most probable classes that are written in one step, in two milliseconds
_END = b"]}"
_SIZE = b',"parameters":{"binary_data_size":%d}}'


class InferWriter(AnswerWriter):
    """Writes the answers of one model version.

    Attributes:
        label_texts: each label as JSON text.
        label_bytes: each label as an element in binary form.
    """

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._outputs = outputs = ModelOutputs(served)
        self._head = b'{"model_name":%b,"model_version":"%d",' % (orjson.dumps(served.name), served.version)
        self.label_texts = [orjson.dumps(_json_label(label)) for label in outputs.label_elements]
        if outputs.datatype == BYTES:
            self.label_bytes = [element_bytes([element]) for element in outputs.label_elements]
        else:
            labels = np.array(outputs.label_elements, dtype=DTYPES[outputs.datatype])
            self.label_bytes = [label.tobytes() for label in labels]
        self._prepared: dict[Layout, _Prepared] = {}

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> Payload:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        if rows == 1:
            [payload] = self.write_each(answer, start, (form,))
            return payload
        return at_once(self.write_in_steps([answer.matrix[start : start + rows]], form))

    def write_each(self, answer: Answer, start: int, forms: Sequence[InferForm]) -> list[Payload]:
        """Writes the answers to requests with one row each, from row `start` of the batch on."""
        payloads: list[Payload] = []
        for layout, same in groupby(forms, _layout_of):
            some = list(same)
            first = start + len(payloads)
            writer = (self._prepared.get(layout) or self._prepare(layout)).rows
            if writer is not None:
                payloads += writer.write_each(answer, first, some)
                continue
            for row, form in enumerate(some, first):
                payloads.append(at_once(self.write_in_steps([answer.matrix[row : row + 1]], form)))
        return payloads

    def _prepare(self, layout: Layout) -> _Prepared:
        """Returns what is prepared for the answers of a layout.

        Raises:
            InvalidRequest: the model has no such output.
        """
        outputs = self._outputs
        wanted = wanted_outputs(layout, outputs.labels)
        is_plain = outputs.width <= _MOST_PREPARED and not any(output.classes for output in wanted)
        if not is_plain:  # not kept: any number of layouts differ by their number of classes
            return _Prepared(wanted, None)
        prepared = self._prepared[layout] = _Prepared(wanted, RowWriter(self, outputs, wanted))
        return prepared

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, Payload]:
        """Writes a large answer in steps.

        Args:
            matrices: `(rows, width)` float32 answers each, in the order of the rows.
            form: form of the answer.

        Yields:
            The number of bytes written by a step.

        Returns:
            The answer, as the generator's value.
        """
        wanted = (self._prepared.get(form.layout) or self._prepare(form.layout)).wanted
        rows = sum(map(len, matrices))
        texts: list[bytes] = [self.begin(form.id)]
        binary: list[bytes] = []
        for at, output in enumerate(wanted):
            texts.append(b"," * (at > 0) + self.declared(output, rows))
            parts: list[bytes] = []
            for matrix in matrices:
                numbers = _STEP_CLASSES if output.classes else STEP_NUMBERS
                block = max(1, numbers // matrix.shape[1])
                for first in range(0, len(matrix), block):
                    some = matrix[first : first + block]
                    if not output.is_binary:
                        parts.append(b",")
                    parts.append(self._data(output, some))
                    yield len(parts[-1])
            if output.is_binary:
                texts.append(_SIZE % sum(map(len, parts)))
                binary += parts
            else:
                texts += (b',"data":[', *parts[1:], b"]}")
        texts.append(_END)
        if not any(output.is_binary for output in wanted):
            return tuple(texts) if rows > STEP_NUMBERS else b"".join(texts)
        head = b"".join(texts)
        body = (head, *binary) if rows > STEP_NUMBERS else b"".join((head, *binary))
        return WrittenAnswer(body, _head_for(len(head)))

    def begin(self, id_: str | None) -> bytes:
        """Returns the beginning of an answer, up to the first output."""
        given = b"" if id_ is None else b'"id":%b,' % orjson.dumps(id_)
        return b'%b%b"outputs":[' % (self._head, given)

    def declared(self, output: WantedOutput, rows: int) -> bytes:
        """Returns the beginning of an output, up to its data."""
        outputs = self._outputs
        datatype = BYTES if output.classes else outputs.datatype if output.name == PREDICTIONS else "FP32"
        shape = outputs.shape(output.name, rows, output.classes)
        return b'{"name":"%b","datatype":"%b","shape":[%b]' % (
            output.name.encode(),
            datatype.encode(),
            b",".join([b"%d" % size for size in shape]),
        )

    def _data(self, output: WantedOutput, matrix: NDArray[np.float32]) -> bytes:
        """Returns the data of an output for some rows: bytes, or elements of a JSON list."""
        outputs = self._outputs
        if output.classes:
            elements = outputs.most_probable(matrix, output.classes)
            if output.is_binary:
                return element_bytes(elements)
            return b",".join([orjson.dumps(element.decode()) for element in elements])
        if output.name == PREDICTIONS and outputs.labels is not None:
            texts = self.label_bytes if output.is_binary else self.label_texts
            return (b"" if output.is_binary else b",").join(
                [texts[class_] for class_ in matrix.argmax(axis=1).tolist()]
            )
        numbers = (outputs.values(matrix) if output.name == PREDICTIONS else matrix).reshape(-1)
        return little_endian(numbers) if output.is_binary else number_text(numbers)[1:-1]

    def numbers_of_batch(self, answer: Answer, is_binary: bool) -> tuple[list[bytes], list[int]]:
        """Returns the numbers of each row of a batch, as bytes or text, and the class of each row; keeps both."""
        memo = answer.memos.get((self, is_binary))
        if memo is None:
            matrix, outputs = answer.matrix, self._outputs
            numbers = outputs.values(matrix) if outputs.labels is None else matrix
            if is_binary:
                data = little_endian(numbers)
                size = len(data) // len(matrix)
                rows = [data[at : at + size] for at in range(0, len(data), size)]
            elif numbers.ndim == 1:
                rows = number_text(numbers)[1:-1].split(b",")
            else:
                rows = number_text(numbers)[2:-2].split(b"],[")
            classes = [0] * len(rows) if outputs.labels is None else matrix.argmax(axis=1).tolist()
            memo = answer.memos[self, is_binary] = rows, classes
        return memo


class _Prepared:
    """The prepared parts of the answers of a layout.

    Args:
        wanted: outputs of the answers.
        rows: writer of answers to one row; None if such answers are written as those to several rows.

    Attributes:
        wanted: outputs of the answers.
        rows: writer of answers to one row; None if such answers are written as those to several rows.
    """

    __slots__ = ("rows", "wanted")

    def __init__(self, wanted: tuple[WantedOutput, ...], rows: RowWriter | None) -> None:
        self.wanted = wanted
        self.rows = rows


class RowWriter:
    """Writes answers to one row each. The text of an answer is the same for all rows of a class but for the numbers.

    Args:
        writer: writer of the model version.
        outputs: outputs of the model version.
        wanted: outputs of the answers.
    """

    def __init__(self, writer: InferWriter, outputs: ModelOutputs, wanted: tuple[WantedOutput, ...]) -> None:
        self._writer = writer
        numeric = PREDICTIONS if outputs.labels is None else PROBABILITIES
        self._is_binary = any(output.is_binary for output in wanted)
        self._numbers_are_binary = any(output.name == numeric and output.is_binary for output in wanted)
        self._has_texts = any(output.name == numeric and not output.is_binary for output in wanted)
        number_bytes = outputs.width * (8 if outputs.labels is None and outputs.datatype == "FP64" else 4)
        self._texts: list[tuple[bytes, bytes]] = []  # JSON before and behind the numbers, by class
        self._bytes: list[tuple[bytes, bytes]] = []  # bytes before and behind the numbers, by class
        for class_ in range(1 if outputs.labels is None else outputs.width):
            texts, binary = [b""], [b""]
            for at, output in enumerate(wanted):
                is_numeric = output.name == numeric
                texts[-1] += b"," * (at > 0) + writer.declared(output, 1)
                if output.is_binary:
                    texts[-1] += _SIZE % (number_bytes if is_numeric else len(writer.label_bytes[class_]))
                    if is_numeric:
                        binary.append(b"")
                    else:
                        binary[-1] += writer.label_bytes[class_]
                else:
                    texts[-1] += b',"data":['
                    if is_numeric:
                        texts.append(b"")
                    else:
                        texts[-1] += writer.label_texts[class_]
                    texts[-1] += b"]}"
            texts[-1] += _END
            self._texts.append((texts[0], b"".join(texts[1:])))
            self._bytes.append((binary[0], b"".join(binary[1:])))
        begin = writer.begin(None)
        self._heads = [begin + before for before, _ in self._texts]  # without an id
        self._answer_heads = [_head_for(len(head)) for head in self._heads]

    def write_each(self, answer: Answer, start: int, forms: Sequence[InferForm]) -> list[Payload]:
        """Writes the answers to requests with one row each, from row `start` of the batch on."""
        rows, classes = self._writer.numbers_of_batch(answer, self._numbers_are_binary)
        write = self._write_binary if self._is_binary else self._write_text
        return [write(form.id, rows[row], classes[row]) for row, form in enumerate(forms, start)]

    def _write_text(self, id_: str | None, numbers: bytes, class_: int) -> bytes:
        """Writes an answer in JSON alone."""
        before, behind = self._texts[class_]
        head = self._heads[class_] if id_ is None else self._writer.begin(id_) + before
        return b"".join((head, numbers, behind)) if self._has_texts else head + behind

    def _write_binary(self, id_: str | None, numbers: bytes, class_: int) -> WrittenAnswer:
        """Writes an answer with bytes behind the JSON part."""
        before, behind = self._bytes[class_]
        if not self._numbers_are_binary and not self._has_texts:
            numbers = b""  # only the predictions of a classifier are asked for
        if id_ is None and not self._has_texts:
            return WrittenAnswer(b"".join((self._heads[class_], before, numbers, behind)), self._answer_heads[class_])
        head = self._writer.begin(id_) + self._texts[class_][0]
        if self._has_texts:
            head = b"".join((head, numbers, self._texts[class_][1]))
            return WrittenAnswer(head + before, _head_for(len(head)))
        return WrittenAnswer(b"".join((head, before, numbers, behind)), _head_for(len(head)))


def _head_for(length: int) -> AnswerHeaders:
    """Returns the headers of an answer whose JSON part has a length in bytes."""
    return AnswerHeaders(BINARY_TYPE, ((HEADER_LENGTH, b"%d" % length),))


def _layout_of(form: InferForm) -> Layout:
    return form.layout


def _json_label(element: Any) -> Any:
    return element.decode() if isinstance(element, bytes) else element
