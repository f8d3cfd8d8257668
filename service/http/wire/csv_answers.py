"""Answers as CSV (RFC 4180): a line for each row, with the prediction and a classifier's probabilities.

The numbers are those of the JSON answer, with the same digits, and a header has the version that answered. A
spreadsheet may take a label such as `=1+1` for a formula: labels are written as they are, because a mark against this
would change them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.labels import Label
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, target_values
from service.http.wire.answered_in import AnswersAlone
from service.http.wire.json_answers import number_text
from service.http.wire.wire_format import (
    STEP_NUMBERS,
    AnswerHeaders,
    AnswerWriter,
    WrittenAnswer,
)

VARY_ACCEPT = (b"vary", b"accept")
MODEL_HEADER = b"x-axon-model"

_TYPE = b"text/csv; charset=utf-8"
_END = b"\r\n"
_SPECIAL = (",", '"', "\r", "\n")


class CsvWriter(AnswerWriter):
    """Writes the answers of one model version as CSV."""

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        self._labels = None if served.labels is None else [_quoted(_text(label)) for label in served.labels]
        names = ["prediction", *(f"probability_{_text(label)}" for label in served.labels or ())]
        self._head = b",".join(map(_quoted, names)) + _END
        model = str(served).encode()  # a table has no other place for the version
        self._headers = AnswerHeaders(_TYPE, (VARY_ACCEPT, (MODEL_HEADER, model)))

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> WrittenAnswer:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        lines = answer.memos.get(self)
        if lines is None:
            lines = answer.memos[self] = self._lines(answer.matrix)
        return WrittenAnswer(b"".join((self._head, *lines[start : start + rows])), self._headers)

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, WrittenAnswer]:
        """Writes a large answer, some rows in each step."""
        parts = [self._head]
        for matrix in matrices:
            rows = max(1, STEP_NUMBERS // matrix.shape[1])
            for at in range(0, len(matrix), rows):
                parts += self._lines(matrix[at : at + rows])
                yield 8 * rows * matrix.shape[1]
        return WrittenAnswer(tuple(parts), self._headers)

    def _lines(self, matrix: NDArray[np.float32]) -> list[bytes]:
        """Returns the lines of rows, `(rows, width)` float32."""
        if self._labels is None:
            texts = number_text(target_values(matrix, self._served.origin))[1:-1].split(b",")
            return [text + _END for text in texts]
        labels = self._labels
        rows = zip(matrix.argmax(axis=1).tolist(), number_text(matrix)[2:-2].split(b"],["), strict=True)
        return [b"%b,%b%b" % (labels[class_], text, _END) for class_, text in rows]


class CsvAnswers(AnswersAlone):
    """CSV answers, for the requests of other formats."""

    content_type = _TYPE
    writer_class = CsvWriter


def _text(label: Label) -> str:
    """Returns a label as in JSON, a text without quotes."""
    return label if isinstance(label, str) else orjson.dumps(label).decode()


def _quoted(text: str) -> bytes:
    """Returns a cell, in quotes where RFC 4180 asks for quotes."""
    needs_quotes = any(mark in text for mark in _SPECIAL) or text != text.strip() or not text
    return f'"{text.replace(chr(34), chr(34) * 2)}"'.encode() if needs_quotes else text.encode()
