"""Equality of two JSON documents, up to what another processor's rounding does to a trained model's probabilities."""

from __future__ import annotations

from typing import Any

import pytest


def is_close(a: Any, b: Any) -> bool:
    """Returns True if two documents are equal, where fractions may differ by 0.02."""
    if isinstance(a, float) and isinstance(b, float):
        return a == pytest.approx(b, abs=0.02)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_close, a, b))
    return bool(a == b)
