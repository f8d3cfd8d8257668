"""Answers as JSON: the bodies that `POST /predict` sends.

The rows of many small requests share a batch, so the numbers of the batch are written to JSON once and cut into the
requests' shares; those of a large request are written for it alone. A large answer is written in steps, and so are the
answers of a batch with many numbers or many requests: they would hold the event loop otherwise.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from service.batching.catalog import ServedVersion
from service.batching.ticket import Answer
from service.http.wire.wire_format import STEP_NUMBERS, AnswerWriter

_LARGE_ROWS = 32  # from here on, writing the rows of one request costs less than cutting and joining texts


class JsonWriter(AnswerWriter):
    """Writes the answers of one model version as JSON."""

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._head = b'{"model":%b,"version":%d,"predictions":[' % (orjson.dumps(served.name), served.version)
        self._origin = served.origin
        self._labels = None if served.labels is None else [orjson.dumps(label) for label in served.labels]
        if self._labels is not None:
            # One row's answer is `before[class] + probabilities + "]]}"`.
            self._before = [self._head + b'%b],"probabilities":[[' % label for label in self._labels]

    def write(self, answer: Answer, start: int, rows: int) -> bytes:
        """Writes the answer to `rows` rows, from row `start` of a batch's answer on."""
        if rows >= _LARGE_ROWS:
            return self._write_large(answer.matrix[start : start + rows])
        memo = answer.memos.get(self)
        if memo is None:
            memo = answer.memos[self] = self._prepare(answer.matrix)
        texts, classes = memo
        if self._labels is None:
            return self._head + b",".join(texts[start : start + rows]) + b"]}"
        if rows == 1:
            return b"".join((self._before[classes[start]], texts[start], b"]]}"))
        return self._assemble(classes[start : start + rows], b"],[".join(texts[start : start + rows]))

    def write_in_steps(self, matrices: Sequence[NDArray[np.float32]]) -> Generator[int, None, tuple[bytes, ...]]:
        """Writes the body of a large answer.

        Args:
            matrices: `(rows, width)` answers each, one after the other.

        Yields:
            The number of bytes that a step wrote.

        Returns:
            The body, in parts.
        """
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
                    for column in range(0, block.shape[1], STEP_NUMBERS):  # a row may be longer than a step by itself
                        probabilities += (separator, _dump(block[:, column : column + STEP_NUMBERS])[2:-2])
                        separator = b","
                        yield len(probabilities[-1])
                yield len(predictions[-1])
        if self._labels is None:
            return (self._head, *predictions[1:], b"]}")
        return (self._head, *predictions[1:], b'],"probabilities":[[', *probabilities[1:], b"]]}")

    def _write_large(self, matrix: NDArray[np.float32]) -> bytes:
        if self._labels is None:
            return self._head + self._values(matrix)[1:] + b"}"
        return self._assemble(matrix.argmax(axis=1).tolist(), _dump(matrix)[2:-2])

    def _assemble(self, classes: list[int], probabilities: bytes) -> bytes:
        labels = self._labels
        assert labels is not None  # noqa: S101 -- a regressor has none
        predictions = b",".join([labels[class_] for class_ in classes])
        return b"".join((self._head, predictions, b'],"probabilities":[[', probabilities, b"]]}"))

    def _prepare(self, matrix: NDArray[np.float32]) -> tuple[list[bytes], list[int]]:
        """Each row's numbers as JSON text, and each row's class."""
        if self._labels is None:
            return self._values(matrix)[1:-1].split(b","), []
        return _dump(matrix)[2:-2].split(b"],["), matrix.argmax(axis=1).tolist()

    def _values(self, matrix: NDArray[np.float32]) -> bytes:
        """A regression's values as a JSON list.

        A worker's answers are float32 and lack the target's origin. Where there is one, float32 does not hold the
        values, and they are written as float64.
        """
        values = matrix[:, 0]
        return _dump(values.astype(np.float64) + self._origin if self._origin else values)


def _dump(array: NDArray[np.generic]) -> bytes:
    return orjson.dumps(np.ascontiguousarray(array), option=orjson.OPT_SERIALIZE_NUMPY)
