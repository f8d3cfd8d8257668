"""Moments and shares as text for people."""

from __future__ import annotations

from datetime import UTC, datetime


def moment_text(seconds: float) -> str:
    """Writes a time in UTC, to the second."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def share_text(part: float, of: float) -> str:
    """Writes a share in per cent."""
    return "" if not of else f"{part / of:.1%}"
