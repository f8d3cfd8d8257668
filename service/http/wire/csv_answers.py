"""Answers as CSV (RFC 4180): a line for each row, with the prediction and a classifier's probabilities.

Several targets have a column each, `prediction_TARGET`, and `prediction_TARGET_low` and `prediction_TARGET_high`.

The numbers are those of the JSON answer, with the same digits, and a header has the version that answered. A
spreadsheet may take a label such as `=1+1` for a formula: labels are written as they are, because a mark against this
would change them.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.labels import Label
from models.covered_answers import value_columns
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, target_values
from service.http.wire.answered_in import AnswersAlone
from service.http.wire.covering_texts import CoveringTexts, bound_names
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
        if served.targets is not None:
            names = value_columns(served.targets)
        self._head = b",".join(map(_quoted, names)) + _END
        self._covering = CoveringTexts(served)
        model = str(served).encode()  # a table has no other place for the version
        self._headers = AnswerHeaders(_TYPE, (VARY_ACCEPT, (MODEL_HEADER, model)))

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> WrittenAnswer:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        if form is not None and form.level is not None:
            covered = self._covered_lines(answer.matrix[start : start + rows], form.level)
            return WrittenAnswer(b"".join((self._covered_head, *covered)), self._headers)
        lines: list[bytes] | None = answer.memos.get(self)
        if lines is None:
            lines = answer.memos[self] = self._lines(answer.matrix)
        return WrittenAnswer(b"".join((self._head, *lines[start : start + rows])), self._headers)

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, WrittenAnswer]:
        """Writes a large answer, some rows in each step."""
        level = None if form is None else form.level
        parts = [self._head if level is None else self._covered_head]
        for matrix in matrices:
            rows = max(1, (STEP_NUMBERS if level is None else STEP_NUMBERS // 8) // matrix.shape[1])
            for at in range(0, len(matrix), rows):
                block = matrix[at : at + rows]
                parts += self._lines(block) if level is None else self._covered_lines(block, level)
                yield 8 * rows * matrix.shape[1]
        return WrittenAnswer(tuple(parts), self._headers)

    @cached_property
    def _covered_head(self) -> bytes:
        """The first line of answers with intervals or sets."""
        names = bound_names(self._served) if self._labels is None else ["set"]
        return self._head[: -len(_END)] + b"".join(b"," + _quoted(name) for name in names) + _END

    def _covered_lines(self, matrix: NDArray[np.float32], level: float) -> list[bytes]:
        """Returns the lines of rows with their bounds, or with the JSON list of their set.

        Args:
            matrix: `(rows, width)` float32 answers.
            level: level of the intervals or sets.
        """
        lists = self._covering.rows(matrix, level)
        if self._labels is None:
            cells = [text.translate(None, b"[]") for text in lists]
        else:
            cells = [_quoted(text.decode()) for text in lists]
        end = len(_END)
        return [b"%b,%b%b" % (line[:-end], cell, _END) for line, cell in zip(self._lines(matrix), cells, strict=True)]

    def _lines(self, matrix: NDArray[np.float32]) -> list[bytes]:
        """Returns the lines of rows, `(rows, width)` float32."""
        if self._labels is None:
            texts = number_text(target_values(matrix, self._served.origin))
            split = texts[2:-2].split(b"],[") if matrix.shape[1] > 1 else texts[1:-1].split(b",")
            return [text + _END for text in split]
        labels = self._labels
        rows = zip(matrix.argmax(axis=1).tolist(), number_text(matrix)[2:-2].split(b"],["), strict=True)
        return [b"%b,%b%b" % (labels[class_], text, _END) for class_, text in rows]


class CsvAnswers(AnswersAlone):
    """CSV answers, for the requests of other formats."""

    content_type = _TYPE
    gives_intervals = True
    writer_class = CsvWriter


def _text(label: Label) -> str:
    """Returns a label as in JSON, a text without quotes."""
    return label if isinstance(label, str) else orjson.dumps(label).decode()


def _quoted(text: str) -> bytes:
    """Returns a cell, in quotes where RFC 4180 asks for quotes."""
    needs_quotes = any(mark in text for mark in _SPECIAL) or text != text.strip() or not text
    return f'"{text.replace(chr(34), chr(34) * 2)}"'.encode() if needs_quotes else text.encode()
