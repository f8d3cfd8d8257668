"""Output tensors of a model: predictions, and for classifiers probabilities or the most probable classes."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from models.columns.labels import Label, label_text, label_type
from service.batching.served_version import ServedVersion
from service.batching.ticket import target_values
from service.open_inference.form import PREDICTIONS, PROBABILITIES
from service.open_inference.tensors import BYTES

_GREATEST_SIGNED = 2**63 - 1
_LENGTH = struct.Struct("<I")


class ModelOutputs:
    """The outputs of one model version.

    Args:
        served: model version.

    Attributes:
        labels: labels of a classifier, in the order of the probabilities; None for a regressor.
        width: number of values in the answer to a row.
        datatype: datatype of the predictions.
        label_elements: element of each label as the protocol's client sees it: a number, or UTF-8 bytes.
    """

    def __init__(self, served: ServedVersion) -> None:
        self.labels = served.labels
        self._origin = served.origin
        if self.labels is None:
            self.width = len(served.schema.values)
            self.datatype = "FP64" if np.any(self._origin) else "FP32"
            self.label_elements: list[Any] = []
            return
        self.width = len(self.labels)
        self.datatype = label_datatype(self.labels)
        self.label_elements = [label_text(label).encode() if self.datatype == BYTES else label for label in self.labels]

    @property
    def descriptions(self) -> tuple[tuple[str, str, tuple[int, ...]], ...]:
        """Name, datatype and shape of each output; -1 stands for the number of rows."""
        predictions = (PREDICTIONS, self.datatype, self.shape(PREDICTIONS, -1))
        if self.labels is None:
            return (predictions,)
        return predictions, (PROBABILITIES, "FP32", (-1, self.width))

    def shape(self, name: str, rows: int, classes: int = 0) -> tuple[int, ...]:
        """Returns the shape of an output in the answer to `rows` rows."""
        if name == PREDICTIONS:
            return (rows, self.width) if self.labels is None and self.width > 1 else (rows,)
        return rows, min(classes, self.width) if classes else self.width

    def values(self, matrix: NDArray[np.float32]) -> NDArray[Any]:
        """Returns the predictions of a regressor: float64 if a target has an origin, else float32.

        The shape is `(rows,)`, or `(rows, targets)` for several targets.
        """
        return target_values(matrix, self._origin)

    def most_probable(self, matrix: NDArray[np.float32], classes: int) -> list[bytes]:
        """Returns the most probable classes of each row as `score:index:label`, row by row, in UTF-8."""
        order = np.argsort(-matrix, axis=1, kind="stable")[:, :classes]
        scores = np.ascontiguousarray(np.take_along_axis(matrix, order, axis=1).ravel())
        texts = orjson.dumps(scores, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
        ends = self._class_ends
        return [score + ends[class_] for score, class_ in zip(texts, order.ravel().tolist(), strict=True)]

    @cached_property
    def _class_ends(self) -> list[bytes]:
        """`:index:label` of each class, in UTF-8."""
        return [f":{index}:{label_text(label)}".encode() for index, label in enumerate(self.labels or ())]


def label_datatype(labels: tuple[Label, ...]) -> str:
    """Returns the datatype that holds some labels exactly."""
    match label_type(labels):
        case "bool":
            return "BOOL"
        case "float":
            return "FP64"
        case "int":
            numbers = [int(label) for label in labels]
            if max(numbers) <= _GREATEST_SIGNED:
                return "INT64"
            return "UINT64" if min(numbers) >= 0 else BYTES  # no datatype holds all of them
    return BYTES


def element_bytes(elements: list[bytes]) -> bytes:
    """Returns elements of BYTES in binary form: each has its length in four bytes, and then its text."""
    parts: list[bytes] = []
    for element in elements:
        parts += (_LENGTH.pack(len(element)), element)
    return b"".join(parts)


def little_endian(numbers: NDArray[Any]) -> bytes:
    """Returns the numbers of an array as bytes, row by row."""
    return numbers.astype(numbers.dtype.newbyteorder("<"), copy=False).tobytes()
