"""Typed contents of a tensor: elements in the protobuf field of the datatype."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.cells import shown
from service.errors import InvalidRequest
from service.grpc.messages import message_class
from service.open_inference.tensors import DTYPES

CONTENTS = message_class("inference.InferTensorContents")

_FIELDS = {field.number: field.name for field in CONTENTS.DESCRIPTOR.fields}
_BOOLEANS, _TEXTS = 1, 8
_STEP_ELEMENTS = 1 << 17
_WIRE_DTYPES = {2: np.int32, 3: np.int64, 4: np.uint32, 5: np.uint64, 6: np.float32, 7: np.float64}
#: Number of the field with the elements of each datatype. FP16 has none.
NUMBERS = {
    "BOOL": _BOOLEANS,
    "INT8": 2,
    "INT16": 2,
    "INT32": 2,
    "INT64": 3,
    "UINT8": 4,
    "UINT16": 4,
    "UINT32": 4,
    "UINT64": 5,
    "FP32": 6,
    "FP64": 7,
    "BYTES": _TEXTS,
}


class TypedContents:
    """The elements of one tensor."""

    def __init__(self) -> None:
        self._lists: dict[int, list[Any]] = {}
        self._arrays: dict[int, list[NDArray[Any]]] = {}

    def add(self, message: Any) -> None:
        """Adds the elements of a parsed `InferTensorContents`."""
        for field, elements in message.ListFields():
            number = field.number
            if number in _WIRE_DTYPES:
                self.add_array(number, np.fromiter(elements, dtype=_WIRE_DTYPES[number], count=len(elements)))
            elif number == _BOOLEANS:
                self._lists.setdefault(number, []).extend(elements)
            else:
                self._add_texts(elements)

    def add_array(self, number: int, elements: NDArray[Any]) -> None:
        """Adds numbers of a field."""
        self._arrays.setdefault(number, []).append(elements)

    def _add_texts(self, elements: Sequence[bytes]) -> None:
        texts = self._lists.setdefault(_TEXTS, [])
        try:
            texts.extend([element.decode() for element in elements])
        except UnicodeDecodeError:
            raise InvalidRequest("An element of BYTES is not UTF-8.") from None

    def elements(self, name: str, datatype: str) -> Generator[None, None, NDArray[Any] | list[Any]]:
        """Returns the elements of a datatype, in short steps.

        Args:
            name: name of the tensor.
            datatype: datatype of the tensor.

        Raises:
            InvalidRequest: there are elements of another type or beyond the range, or the datatype has no contents.
        """
        number = NUMBERS.get(datatype)
        if number is None:
            raise InvalidRequest(
                f"Input {shown(name)}: there are no contents for datatype {shown(datatype)}; send raw contents."
            )
        for other in (*self._lists, *self._arrays):
            if other != number:
                raise InvalidRequest(
                    f"Input {shown(name)}: {_FIELDS[other]} are sent, and {datatype} has {_FIELDS[number]}."
                )
        if number not in self._arrays:
            return self._lists.get(number, [])
        arrays, dtype = self._arrays[number], DTYPES[datatype]
        if len(arrays) == 1 and arrays[0].dtype == dtype:
            return arrays[0]
        limits = np.iinfo(dtype.name) if dtype.kind in "iu" else None
        result = np.empty(sum(map(len, arrays)), dtype)
        at = 0
        for array in arrays:
            for first in range(0, len(array), _STEP_ELEMENTS):
                some = array[first : first + _STEP_ELEMENTS]
                if limits is not None and (some.min() < limits.min or some.max() > limits.max):
                    raise InvalidRequest(f"Input {shown(name)}: an element is beyond the range of {datatype}.")
                result[at : at + len(some)] = some
                at += len(some)
                yield
        return result
