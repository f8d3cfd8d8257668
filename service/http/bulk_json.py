"""Large prediction requests whose rows are lists of numbers: JSON text → a matrix, without a Python object a number.

simdjson writes a document's numbers into one buffer. It flattens while it does, so that rows of other lengths and
nested lists would pass unseen; both are looked for. Whatever is not plainly rows of numbers is left to the careful
reader, which accepts it or says what is wrong with it.
"""

from __future__ import annotations

import re

import numpy as np
import simdjson
from numpy.typing import NDArray

# Below it, reading into Python objects is as fast.
LARGE_BODY_BYTES = 4096

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MODEL_FIRST = re.compile(rb'\s*\{\s*"model"\s*:\s*"([A-Za-z0-9._@-]{1,300})"\s*,')


def model_first(body: bytes) -> str | None:
    """The model's id where a request begins with it, which it does as a rule: known before anything is parsed."""
    found = _MODEL_FIRST.match(body)
    return None if found is None else found[1].decode()


class BulkReader:
    """Reads large requests, keeping the parser's memory from one to the next."""

    def __init__(self) -> None:
        self._parser = simdjson.Parser()

    def read(self, body: bytes) -> tuple[str | None, NDArray[np.float64]] | None:
        """The model's id and the rows, `(rows, columns)`; None where the body is for the careful reader."""
        if body.startswith(_BYTE_ORDER_MARK):  # simdjson takes it; JSON says that it may not be there
            return None
        try:
            document = self._parser.parse(body)
            if not isinstance(document, simdjson.Object):
                return None
            keys = sorted(document.keys())
            if keys not in (["instances"], ["instances", "model"]):
                return None
            model = document["model"] if len(keys) == 2 else None
            rows = document["instances"]
            if not (isinstance(rows, simdjson.Array) and (model is None or isinstance(model, str))):
                return None
            widths = {len(row) for row in rows}  # type: ignore[arg-type]
            # As many brackets as rows and one: none of the rows has a list in it. (A bracket in the id is refused too.)
            if len(widths) != 1 or body.count(b"[") != len(rows) + 1:
                return None
            [width] = widths
            numbers = np.frombuffer(rows.as_buffer(of_type="d"), dtype=np.float64)
        except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError):
            return None
        if not width or len(numbers) != len(rows) * width:
            return None
        return model, numbers.reshape(-1, width)
