"""The fast readers for rows of numbers: make a matrix from JSON text, without a Python object for each number.

simdjson writes the numbers of a text into one buffer and flattens all lists. So rows of different lengths and nested
lists would not be noticed, and this module checks for both. Any text that is not plainly rows of numbers is left to the
general reader, which accepts it or reports the fault.
"""

from __future__ import annotations

import re

import numpy as np
import simdjson
from numpy.typing import NDArray

from models.columns.magnitude import are_below

HINT_BYTES = 4096  # bytes of a body that are searched before it is read in steps
_BRACKET = ord("[")
_KEYS = (["model", "instances"], ["instances"], ["instances", "model"])
_EXACT = 2.0**53  # beyond, a whole number may differ from its float, and so name another category
_MOST_ROWS = 1 << 14  # rows read at a time; each becomes a Python object for a moment
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*"([A-Za-z0-9._@-]{1,300})"\s*,')


def model_first(body: bytes | bytearray) -> str | None:
    """Returns the model's id at the start of a request, without parsing; None if a request starts differently."""
    found = _MODEL_FIRST.match(body, 0, HINT_BYTES)
    return None if found is None else found[1].decode()


class NumberReader:
    """A reader of rows of numbers, which reuses the parser's memory."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()

    def read(self, text: bytes) -> NDArray[np.float64] | None:
        """Reads rows of numbers of one width.

        Args:
            text: JSON text of a list of rows.

        Returns:
            `(rows, columns)` numbers; None if the text is left to the general reader.
        """
        try:
            rows = self._parser.parse(text)
            return _matrix(rows, text) if isinstance(rows, simdjson.Array) and len(rows) <= _MOST_ROWS else None
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None

    def read_flat(self, text: bytes) -> NDArray[np.float64] | None:
        """Reads numbers.

        Args:
            text: JSON text of a flat list.

        Returns:
            `(numbers,)` numbers; None if the text is left to the general reader.
        """
        try:
            numbers = self._parser.parse(text)
            if not isinstance(numbers, simdjson.Array) or _brackets(text) != 1:
                return None
            return np.frombuffer(numbers.as_buffer(of_type="d"), dtype=np.float64)
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None

    def read_request(
        self, body: bytes | bytearray, *, may_name_model: bool = True
    ) -> tuple[str | None, NDArray[np.float64]] | None:
        """Reads a request with rows of numbers of one width.

        Args:
            body: JSON text of an object with the rows and perhaps a model.
            may_name_model: False for a protocol without the key `model`.

        Returns:
            The reference of the model and `(rows, columns)` numbers; None if the text is left to the general reader.
        """
        try:
            request = self._parser.parse(body)
            if not isinstance(request, simdjson.Object):
                return None
            keys = list(request.keys())
            if keys not in _KEYS or (len(keys) > 1 and not may_name_model):
                return None
            model = request["model"] if len(keys) > 1 else None
            numbers = _matrix(request["instances"], body)
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None
        if numbers is None or not (model is None or isinstance(model, str)):
            return None
        return (model, numbers) if are_below(numbers, _EXACT) else None


def _matrix(rows: object, text: bytes | bytearray) -> NDArray[np.float64] | None:
    """Returns a parsed list as `(rows, columns)` numbers; None for anything but rows of numbers of one width.

    Args:
        rows: value from the parser.
        text: text that contains the list.
    """
    if not isinstance(rows, simdjson.Array):
        return None
    widths = {len(row) for row in rows}  # type: ignore[arg-type]
    # One bracket more than rows: no row contains a list.
    if len(widths) != 1 or _brackets(text) != len(rows) + 1:
        return None
    [width] = widths
    numbers = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
    return numbers.reshape(-1, width) if width and len(numbers) == len(rows) * width else None


def _brackets(text: bytes | bytearray) -> int:
    """Returns the number of opening brackets. Where there are many, `bytes.count` takes four times as long."""
    return int(np.count_nonzero(np.frombuffer(text, dtype=np.uint8) == _BRACKET))
