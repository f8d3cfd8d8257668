"""The fast reader for rows of numbers: makes a matrix from JSON text, without a Python object for each number.

simdjson writes the numbers of a text into one buffer and flattens all lists. So rows of different lengths and nested
lists would not be noticed, and this module checks for both. Any text that is not plainly rows of numbers is left to the
general reader, which accepts it or reports the fault.
"""

from __future__ import annotations

import re

import numpy as np
import simdjson
from numpy.typing import NDArray

HINT_BYTES = 4096  # bytes of a body that are searched before it is read in steps
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
            if not isinstance(rows, simdjson.Array):
                return None
            widths = {len(row) for row in rows}  # type: ignore[arg-type]
            # One bracket more than rows: no row contains a list.
            if len(widths) != 1 or text.count(b"[") != len(rows) + 1:
                return None
            [width] = widths
            numbers = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None
        if not width or len(numbers) != len(rows) * width:
            return None
        return numbers.reshape(-1, width)
