"""Answers as an Arrow stream: the column `prediction`, and a classifier's `probabilities` as lists of a fixed size.

Several targets have a column each, `prediction_TARGET`, and the metadata has `targets`, a JSON list of their names.

The probabilities of all rows are one buffer, in the order of the model's classes: a client gets them as an array
without a copy. With intervals there are the columns `low` and `high`, or `set`: for each class in the same order, true
if it is in the set. The metadata of the schema has `model`, `version` and, for a classifier, `labels` as a JSON list.
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
from service.arrow.writing import (
    BOOLEAN,
    END,
    FLOAT32,
    FLOAT64,
    INT64,
    UINT64,
    Field,
    batch_message,
    dictionary_message,
    schema_message,
    text_buffers,
)
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer, target_values
from service.http.wire.answered_in import AnswersAlone
from service.http.wire.covering_texts import CoveringTexts, bound_names
from service.http.wire.csv_answers import MODEL_HEADER, VARY_ACCEPT
from service.http.wire.wire_format import (
    AnswerHeaders,
    AnswerWriter,
    WrittenAnswer,
)
from service.open_inference.outputs import label_datatype

_TYPE = b"application/vnd.apache.arrow.stream"
_BATCH_NUMBERS = 1 << 17  # numbers of a batch, which a step writes in a fraction of a millisecond


class ArrowWriter(AnswerWriter):
    """Writes the answers of one model version as Arrow streams."""

    def __init__(self, served: ServedVersion) -> None:
        super().__init__(served)
        # Also in the metadata, which a data frame that is made from the stream does not keep.
        self._headers = AnswerHeaders(_TYPE, (VARY_ACCEPT, (MODEL_HEADER, str(served).encode())))
        self._covering = CoveringTexts(served)
        labels = served.labels
        metadata = {"model": served.name, "version": str(served.version)}
        if labels is None:
            self._values: NDArray[Any] | None = None
            number = FLOAT64 if np.any(served.origin) else FLOAT32
            names = ["prediction"]
            if served.targets is not None:
                names = value_columns(served.targets)
                metadata["targets"] = orjson.dumps(served.targets).decode()
            self._fields, self._metadata = [Field(name, number) for name in names], metadata
            self._head = schema_message(self._fields, metadata)
            return
        kind = _type_of(labels)
        metadata["labels"] = orjson.dumps(labels).decode()
        probabilities = Field("probabilities", FLOAT32, list_size=len(labels))
        self._values = None if kind is None else np.array(labels, dtype=_DTYPES[kind])
        fields = [Field("prediction", kind), probabilities]
        self._fields, self._metadata = fields, metadata
        self._head = schema_message(fields, metadata)
        self._dictionary = b""
        if kind is None:
            texts = [label if isinstance(label, str) else orjson.dumps(label).decode() for label in labels]
            self._dictionary = dictionary_message(len(labels), text_buffers(texts))
            self._head += self._dictionary

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> WrittenAnswer:
        """Writes the answer to `rows` rows, from row `start` of the batch on."""
        level = None if form is None else form.level
        parts = self._batch(answer.matrix[start : start + rows], level)
        return WrittenAnswer(b"".join((self._head_for(level), *parts, END)), self._headers)

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, WrittenAnswer]:
        """Writes a large answer, a batch in each step."""
        level = None if form is None else form.level
        parts = [self._head_for(level)]
        for matrix in matrices:
            rows = max(1, (_BATCH_NUMBERS if level is None else _BATCH_NUMBERS // 4) // matrix.shape[1])
            for at in range(0, len(matrix), rows):
                parts += self._batch(matrix[at : at + rows], level)
                yield 4 * rows * matrix.shape[1]
        parts.append(END)
        return WrittenAnswer(tuple(parts), self._headers)

    @cached_property
    def _covered_head(self) -> bytes:
        """The messages before the first batch of answers with intervals or sets."""
        labels = self._served.labels
        if labels is not None:
            sets = Field("set", BOOLEAN, list_size=len(labels))
            return schema_message([*self._fields, sets], self._metadata) + self._dictionary
        number = FLOAT64 if np.any(self._served.origin) else FLOAT32
        bounds = [Field(name, number) for name in bound_names(self._served)]
        return schema_message([*self._fields, *bounds], self._metadata)

    def _head_for(self, level: float | None) -> bytes:
        """Returns the messages before the first batch."""
        return self._head if level is None else self._covered_head

    def _batch(self, matrix: NDArray[np.float32], level: float | None) -> list[bytes]:
        """Returns a batch.

        Args:
            matrix: `(rows, width)` float32 answers.
            level: level of the intervals or sets; None for an answer without.
        """
        rows = len(matrix)
        if self._served.labels is None:
            found = target_values(matrix, self._served.origin)
            values: list[NDArray[Any]] = [found] if found.ndim == 1 else list(found.T)
            if level is not None:
                values.extend(self._covering.bounds(matrix, level).reshape(rows, -1).T)
            buffers = [buffer for column in values for buffer in (b"", column.tobytes())]
            return batch_message(rows, [rows] * len(values), buffers)
        classes = matrix.argmax(axis=1)
        if self._values is None:
            predictions = classes.astype("<i4").tobytes()
        elif self._values.dtype == np.bool_:
            predictions = np.packbits(self._values[classes], bitorder="little").tobytes()
        else:
            predictions = self._values[classes].tobytes()
        nodes, buffers = [rows, rows, matrix.size], [b"", predictions, b"", b"", matrix.tobytes()]
        if level is not None:
            nodes += [rows, matrix.size]
            buffers += [b"", b"", np.packbits(self._covering.sets(matrix, level), bitorder="little").tobytes()]
        return batch_message(rows, nodes, buffers)


class ArrowAnswers(AnswersAlone):
    """Arrow answers, for the requests of other formats."""

    content_type = _TYPE
    gives_intervals = True
    writer_class = ArrowWriter


_TYPES = {"BOOL": BOOLEAN, "INT64": INT64, "UINT64": UINT64, "FP64": FLOAT64}
_DTYPES = {BOOLEAN: "?", INT64: "<i8", UINT64: "<u8", FLOAT64: "<f8"}


def _type_of(labels: tuple[Label, ...]) -> str | None:
    """Returns the type of a column of labels; None for texts, and for whole numbers that no type of 64 bits holds."""
    return _TYPES.get(label_datatype(labels))
