"""Answers as JSON: the bodies that `POST /predict` sends.

Many small requests share a batch, so the numbers of the whole batch are written to JSON once, and the text is cut for
the requests. The numbers of a large request are written separately. A large answer is written in steps, and so are the
answers of a batch with many numbers or many requests, which would block the event loop otherwise.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, target_values
from service.http.wire.covering_texts import CoveringTexts
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter

LARGE_ROWS = 32  # from this number on, writing the rows of one request costs less than cutting and joining texts


class JsonWriter(AnswerWriter):
    """Writes the answers of one model version as JSON. Other protocols have subclasses, with other texts around."""

    _end = b"]]}"  # behind the probabilities of a classifier

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._head = self._begin(served)
        self._origin = served.origin
        self._covering = CoveringTexts(served)
        self._labels = None if served.labels is None else [orjson.dumps(label) for label in served.labels]
        if self._labels is not None:
            # The answer to one row is `before[class] + probabilities + end`.
            self._before = [self._head + b'%b],"probabilities":[[' % label for label in self._labels]

    def _begin(self, served: ServedVersion) -> bytes:
        """Returns the beginning of each answer, up to the first prediction."""
        return b'{"model":%b,"version":%d,"predictions":[' % (orjson.dumps(served.name), served.version)

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> bytes:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        if form is not None and form.level is not None:
            matrix = answer.matrix[start : start + rows]
            return b"".join((self.write(answer, start, rows)[:-1], *self._covering.members([matrix], form.level)))
        if rows >= LARGE_ROWS:
            return self._write_large(answer.matrix[start : start + rows])
        texts, classes = answer.memos.get(self) or self._prepare(answer)
        if self._labels is None:
            return self._head + b",".join(texts[start : start + rows]) + b"]}"
        if rows == 1:
            return b"".join((self._before[classes[start]], texts[start], self._end))
        return self._assemble(classes[start : start + rows], b"],[".join(texts[start : start + rows]))

    def write_each(self, answer: Answer, start: int, forms: Sequence[Any]) -> list[bytes]:
        """Writes the answers to requests with one row each, from row `start` of the batch on."""
        count = len(forms)
        texts, classes = answer.memos.get(self) or self._prepare(answer)
        if count < answer.rows:
            texts, classes = texts[start : start + count], classes[start : start + count]
        if self._labels is None:
            return [b"%b%b]}" % (self._head, text) for text in texts]
        before, end = self._before, self._end
        return [b"".join((before[class_], text, end)) for class_, text in zip(classes, texts, strict=True)]

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, tuple[bytes, ...]]:
        """Writes the body of a large answer.

        Args:
            matrices: `(rows, width)` float32 answers each, in the order of the rows.
            form: form of the answer.

        Yields:
            The number of bytes written by a step.

        Returns:
            The parts of the body.
        """
        parts = yield from self._predictions_in_steps(matrices)
        if form is None or form.level is None:
            return parts
        covering = []
        for part in self._covering.members(matrices, form.level):
            covering.append(part)
            yield len(part)
        return (*parts[:-1], parts[-1][:-1], *covering)

    def _predictions_in_steps(self, matrices: Sequence[NDArray[np.float32]]) -> Generator[int, None, tuple[bytes, ...]]:
        """Writes predictions and probabilities, as `write_in_steps` does."""
        predictions: list[bytes] = []
        probabilities: list[bytes] = []
        for matrix in matrices:
            rows = max(1, STEP_NUMBERS // matrix.shape[1])
            for at in range(0, len(matrix), rows):
                block = matrix[at : at + rows]
                if self._labels is None:
                    predictions += (b",", self._values(block)[1:-1])
                else:
                    labels = self._labels
                    predictions += (b",", b",".join([labels[class_] for class_ in block.argmax(axis=1).tolist()]))
                    separator = b"],["
                    for column in range(0, block.shape[1], STEP_NUMBERS):  # a single row may be longer than a step
                        probabilities += (separator, number_text(block[:, column : column + STEP_NUMBERS])[2:-2])
                        separator = b","
                        yield len(probabilities[-1])
                yield len(predictions[-1])
        if self._labels is None:
            return (self._head, *predictions[1:], b"]}")
        return (self._head, *predictions[1:], b'],"probabilities":[[', *probabilities[1:], self._end)

    def _write_large(self, matrix: NDArray[np.float32]) -> bytes:
        """Returns the body of the answer to a large request, `(rows, width)` float32."""
        if self._labels is None:
            return self._head + self._values(matrix)[1:] + b"}"
        return self._assemble(matrix.argmax(axis=1).tolist(), number_text(matrix)[2:-2])

    def _assemble(self, classes: list[int], probabilities: bytes) -> bytes:
        """Returns the body of a classifier's answer."""
        labels = self._labels
        assert labels is not None  # noqa: S101 -- a regressor has none
        predictions = b",".join([labels[class_] for class_ in classes])
        return b"".join((self._head, predictions, b'],"probabilities":[[', probabilities, self._end))

    def _prepare(self, answer: Answer) -> tuple[list[bytes], list[int]]:
        """Returns the numbers of each row as JSON text, and the class of each row; keeps both for the whole batch."""
        matrix = answer.matrix
        if self._labels is None:
            prepared: tuple[list[bytes], list[int]] = value_texts(self._values(matrix)), []
        else:
            prepared = number_text(matrix)[2:-2].split(b"],["), matrix.argmax(axis=1).tolist()
        answer.memos[self] = prepared
        return prepared

    def _values(self, matrix: NDArray[np.float32]) -> bytes:
        """Returns the values of a regressor as a JSON list; several targets have a list for each row."""
        return number_text(target_values(matrix, self._origin))


def value_texts(values: bytes) -> list[bytes]:
    """Returns the JSON text of each row's value, or list of values, from the JSON list of all rows."""
    if values.startswith(b"[["):
        return [b"[%b]" % text for text in values[2:-2].split(b"],[")]
    return values[1:-1].split(b",")


def number_text(array: NDArray[np.generic]) -> bytes:
    """Returns an array of numbers as JSON text."""
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
