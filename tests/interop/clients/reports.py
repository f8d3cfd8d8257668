"""The reports of a client script: a JSON line for each call. NumPy is all that this module needs."""

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

MODELS: dict[str, Any] = json.load(sys.stdin)
_OUTPUT = sys.stdout  # a script may have another one for what its client prints


def report(call: str, content: Any = None) -> None:
    """Writes the outcome of a call."""
    _OUTPUT.write(json.dumps({"call": call, "report": content}, default=_plain) + "\n")
    _OUTPUT.flush()


def failure(call: str, action: Callable[[], object]) -> None:
    """Calls an action and reports the text of the error, or None after a success."""
    try:
        action()
    except Exception as error:
        report(call, f"{type(error).__name__}: {error}")
    else:
        report(call, None)


def matrix(model: str, dtype: Any = np.float32) -> np.ndarray:
    """Returns the rows of a model with numbers only, `(rows, columns)`."""
    return np.array(MODELS[model]["rows"], dtype=dtype)


def columns(model: str) -> dict[str, np.ndarray]:
    """Returns the columns of a model, `(rows, 1)` each: float32 with NaN for a gap, or objects."""
    found = {}
    for name, cells in zip(MODELS[model]["columns"], zip(*MODELS[model]["rows"], strict=True), strict=True):
        if any(isinstance(cell, str) for cell in cells):
            found[name] = np.array([[cell.encode()] for cell in cells], dtype=object)
        else:
            found[name] = np.array([[float("nan") if cell is None else cell] for cell in cells], dtype=np.float32)
    return found


def tensor(datatype: str, array: np.ndarray) -> dict[str, Any]:
    """Returns an output as plain data."""
    return {"datatype": datatype, "shape": list(array.shape), "data": array.tolist()}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(type(value).__name__)
