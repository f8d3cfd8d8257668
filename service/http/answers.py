"""Answers as JSON: what `POST /predict` sends back for the rows of one request.

The rows of many small requests share a batch, so the batch's numbers are written to JSON once and cut into the
requests' shares; a large request's own are written for it alone.
"""

from __future__ import annotations

import numpy as np
import orjson
from numpy.typing import NDArray

from service.batching.batcher import Answer
from service.batching.catalog import ServedVersion

_LARGE_ROWS = 32  # from here on, writing a request's own rows costs less than cutting and joining texts


class AnswerWriter:
    """Writes one model version's answers as JSON."""

    def __init__(self, served: ServedVersion) -> None:
        self._head = b'{"model":%b,"version":%d,"predictions":[' % (orjson.dumps(served.name), served.version)
        self._origin = served.origin
        self._labels = None if served.labels is None else [orjson.dumps(label) for label in served.labels]
        if self._labels is not None:
            # One row's answer is `before[class] + probabilities + "]]}"`.
            self._before = [self._head + b'%b],"probabilities":[[' % label for label in self._labels]

    def write(self, answer: Answer, start: int, rows: int) -> bytes:
        """The body for `rows` rows of the answer, from `start` on."""
        if rows >= _LARGE_ROWS:
            return self._write_large(answer.matrix[start : start + rows])
        if answer.memo is None:
            answer.memo = self._prepare(answer.matrix)
        texts, classes = answer.memo
        if self._labels is None:
            return self._head + b",".join(texts[start : start + rows]) + b"]}"
        if rows == 1:
            return b"".join((self._before[classes[start]], texts[start], b"]]}"))
        return self._assemble(classes[start : start + rows], b"],[".join(texts[start : start + rows]))

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
