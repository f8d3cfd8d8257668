"""The heartbeat policy: time between two probes, and missed heartbeats after which a worker counts as hung.

API processes and a worker's host use the same policy, so that both find a hung worker at about the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

_MAX_PROBE_SECONDS = 1.0


@dataclass(frozen=True)
class HeartbeatPolicy:
    """A heartbeat policy.

    Attributes:
        probe_seconds: time between two probes, in seconds.
        max_missed: number of missed heartbeats in a row after which a worker counts as hung.
    """

    probe_seconds: float
    max_missed: int

    @classmethod
    def of(cls, hang_seconds: float) -> Self:
        """Returns the policy that finds a hung worker after about `hang_seconds` seconds."""
        probe_seconds = min(_MAX_PROBE_SECONDS, hang_seconds / 4)
        return cls(probe_seconds, max(2, round(hang_seconds / probe_seconds)))
