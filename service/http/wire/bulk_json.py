"""Rows that are lists of numbers: JSON text → a matrix, without a Python object a number.

simdjson writes a text's numbers into one buffer. It flattens while it does, so that rows of other lengths and nested
lists would pass unseen; both are looked for. Whatever is not plainly rows of numbers is left to the careful reader,
which accepts it or says what is wrong with it.
"""

from __future__ import annotations

import re

import numpy as np
import simdjson
from numpy.typing import NDArray

HINT_BYTES = 4096  # of a body that are looked at before it is read in steps
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*"([A-Za-z0-9._@-]{1,300})"\s*,')


def model_first(body: bytes | bytearray) -> str | None:
    """Finds the model's id where a request begins with it, which it does as a rule, before anything is parsed."""
    found = _MODEL_FIRST.match(body, 0, HINT_BYTES)
    return None if found is None else found[1].decode()


class NumberReader:
    """Reads lists of rows of numbers, keeping the parser's memory from one to the next."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()

    def read(self, text: bytes) -> NDArray[np.float64] | None:
        """Reads rows of numbers of one width.

        Args:
            text: JSON text of a list of rows.

        Returns:
            `(rows, columns)` numbers; None where the text is for the careful reader.
        """
        try:
            rows = self._parser.parse(text)
            if not isinstance(rows, simdjson.Array):
                return None
            widths = {len(row) for row in rows}  # type: ignore[arg-type]
            # As many brackets as rows and one: none of the rows has a list in it.
            if len(widths) != 1 or text.count(b"[") != len(rows) + 1:
                return None
            [width] = widths
            numbers = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None
        if not width or len(numbers) != len(rows) * width:
            return None
        return numbers.reshape(-1, width)
