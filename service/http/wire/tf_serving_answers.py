"""Answers of TensorFlow Serving's REST protocol: predictions row by row or by output, and results.

A classifier has two outputs, `predictions` (the labels) and `probabilities`, so that the answer in row form is an
object for each row. A regressor has one, whose name is left out; of several targets, a row is a list of their values.
See docs/protocols.md.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.labels import label_text
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import InvalidRequest
from service.http.wire.json_answers import LARGE_ROWS, JsonWriter, number_text
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter


class TensorForm(AnswerForm):
    """The form of an answer to `:predict`.

    Args:
        by_output: True for `outputs`, the answer to `inputs`; False for `predictions`, the answer to `instances`.

    Attributes:
        by_output: True for `outputs`, False for `predictions`.
    """

    __slots__ = ("by_output",)

    def __init__(self, *, by_output: bool) -> None:
        super().__init__()
        self.by_output = by_output


ROWS, OUTPUTS = TensorForm(by_output=False), TensorForm(by_output=True)


class PredictWriter(AnswerWriter):
    """Writes the answers to `:predict`, by row or by output as the request asks."""

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._by_row = _ClassifierRows(served) if served.labels is not None else _RegressorRows(served)
        self._by_output = _Outputs(served)

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> bytes:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        return self._writer(form).write(answer, start, rows)

    def write_each(self, answer: Answer, start: int, forms: Sequence[Any]) -> list[bytes]:
        """Writes the answers to requests with one row each, from row `start` of the batch on."""
        if all(form is forms[0] for form in forms):
            return self._writer(forms[0]).write_each(answer, start, forms)
        return [self._writer(form).write(answer, row, 1) for row, form in enumerate(forms, start)]

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, tuple[bytes, ...]]:
        """Writes a large answer in steps; yields the number of bytes of each, and returns the parts."""
        return self._writer(form).write_in_steps(matrices)

    def _writer(self, form: TensorForm) -> JsonWriter | _ClassifierRows:
        return self._by_output if form.by_output else self._by_row


class _Outputs(JsonWriter):
    """Writes answers by output: `{"outputs": {"predictions": ["a", …], "probabilities": [[…], …]}}`."""

    _end = b"]]}}"

    def _begin(self, served: ServedVersion) -> bytes:
        """Returns the beginning of each answer; the name of a regressor's only output is left out."""
        return b'{"outputs":[' if served.labels is None else b'{"outputs":{"predictions":['


class _RegressorRows(JsonWriter):
    """Writes a regressor's answers row by row: `{"predictions": [3.5, …]}`."""

    def _begin(self, served: ServedVersion) -> bytes:
        """Returns the beginning of each answer."""
        return b'{"predictions":['


class RegressWriter(JsonWriter):
    """Writes the answers to `:regress`: `{"results": [3.5, …]}`.

    Raises:
        InvalidRequest: the model is a classifier, or has several targets.
    """

    def __init__(self, served: ServedVersion) -> None:
        check_regresses(served)
        super().__init__(served)

    def _begin(self, served: ServedVersion) -> bytes:
        """Returns the beginning of each answer. TensorFlow Serving sends this key; its documentation has `result`."""
        return b'{"results":['


class _RowTexts(AnswerWriter):
    """Writes a classifier's answers as a list with a text for each row."""

    _begin: bytes
    _step_numbers: int

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> bytes:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        if rows >= LARGE_ROWS:
            texts = self._texts(answer.matrix[start : start + rows])
        else:
            texts = self._texts_of_batch(answer)[start : start + rows]
        return b"%b%b]}" % (self._begin, b",".join(texts))

    def write_each(self, answer: Answer, start: int, forms: Sequence[Any]) -> list[bytes]:
        """Writes the answers to requests with one row each, from row `start` of the batch on."""
        begin = self._begin
        return [b"%b%b]}" % (begin, text) for text in self._texts_of_batch(answer)[start : start + len(forms)]]

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, tuple[bytes, ...]]:
        """Writes a large answer in steps; yields the number of bytes of each, and returns the parts."""
        parts: list[bytes] = []
        for matrix in matrices:
            rows = self._step_numbers // matrix.shape[1]
            for at in range(0, len(matrix), max(1, rows)):
                if rows:
                    parts += (b",", b",".join(self._texts(matrix[at : at + rows])))
                    yield len(parts[-1])
                    continue
                parts.append(b",")
                for piece in self._long_row(matrix[at]):
                    parts.append(piece)
                    yield len(piece)
        return (self._begin, *parts[1:], b"]}")

    def _texts_of_batch(self, answer: Answer) -> list[bytes]:
        """Returns the text of each row of a batch, and keeps all texts for the other requests of the batch."""
        texts: list[bytes] | None = answer.memos.get(self)
        if texts is None:
            texts = answer.memos[self] = self._texts(answer.matrix)
        return texts

    def _texts(self, matrix: NDArray[np.float32]) -> list[bytes]:
        """Returns the text of each row of answers, `(rows, classes)`."""
        raise NotImplementedError

    def _long_row(self, row: NDArray[np.float32]) -> Iterator[bytes]:
        """Yields the text of a row with more classes than a step writes, `(classes,)`, in pieces."""
        raise NotImplementedError


class _ClassifierRows(_RowTexts):
    """Writes answers row by row: `{"predictions": [{"predictions": "a", "probabilities": [0.9, 0.1]}, …]}`."""

    _begin = b'{"predictions":['
    _step_numbers = STEP_NUMBERS

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._before = [b'{"predictions":%b,"probabilities":[' % orjson.dumps(label) for label in served.labels or ()]

    def _texts(self, matrix: NDArray[np.float32]) -> list[bytes]:
        before, classes = self._before, matrix.argmax(axis=1).tolist()
        return [b"%b%b]}" % (before[class_], text) for class_, text in zip(classes, row_texts(matrix), strict=True)]

    def _long_row(self, row: NDArray[np.float32]) -> Iterator[bytes]:
        comma = self._before[int(row.argmax())]
        for at in range(0, len(row), STEP_NUMBERS):
            yield comma + number_text(row[at : at + STEP_NUMBERS])[1:-1]
            comma = b","
        yield b"]}"


class ClassifyWriter(_RowTexts):
    """Writes the answers to `:classify`: `{"results": [[["a", 0.9], ["b", 0.1]], …]}`, in the order of the classes.

    Raises:
        InvalidRequest: the model is a regressor.
    """

    _begin = b'{"results":['
    _step_numbers = STEP_NUMBERS // 4  # a score takes longer than a number

    def __init__(self, served: ServedVersion) -> None:
        check_classifies(served)
        super().__init__(served)
        # A label is a text in this protocol.
        texts = [b"[%b," % orjson.dumps(label_text(label)) for label in served.labels or ()]
        self._before = [b"[" + texts[0], *[b"]," + text for text in texts[1:]]]

    def _texts(self, matrix: NDArray[np.float32]) -> list[bytes]:
        before = self._before
        return [
            b"".join(chain.from_iterable(zip(before, text.split(b","), strict=True))) + b"]]"
            for text in row_texts(matrix)
        ]

    def _long_row(self, row: NDArray[np.float32]) -> Iterator[bytes]:
        for at in range(0, len(row), self._step_numbers):
            scores = number_text(row[at : at + self._step_numbers])[1:-1].split(b",")
            yield b"".join(chain.from_iterable(zip(self._before[at : at + len(scores)], scores, strict=True)))
        yield b"]]"


def check_classifies(served: ServedVersion) -> None:
    """Checks that a model version answers `:classify`.

    Raises:
        InvalidRequest: the model is a regressor.
    """
    if served.labels is None:
        raise InvalidRequest(f"{served.name!r} is a regressor: ask for :regress or :predict, not for :classify.")


def check_regresses(served: ServedVersion) -> None:
    """Checks that a model version answers `:regress`.

    Raises:
        InvalidRequest: the model is a classifier, or has several targets.
    """
    if served.labels is not None:
        raise InvalidRequest(f"{served.name!r} is a classifier: ask for :classify or :predict, not for :regress.")
    if served.targets is not None:
        raise InvalidRequest(f"{served.name!r} has several targets: ask for :predict, not for :regress.")


def row_texts(matrix: NDArray[np.float32]) -> list[bytes]:
    """Returns the numbers of each row of answers, `(rows, classes)`, as JSON text without brackets."""
    return number_text(matrix)[2:-2].split(b"],[")
