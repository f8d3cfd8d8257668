"""A server after some work: its metric files and connections are open, so that later footprints can be compared."""

from __future__ import annotations

import time

from crowd import Crowd
from footprint import Footprint
from serving import Server, wait_until

_STEADY_SECONDS = 2.0


def warm_up(server: Server) -> Footprint:
    """Sends a crowd to the server and returns the footprint when that is stable."""
    with Crowd(server, pause_seconds=0.05) as crowd:
        crowd.warm()
        crowd.stop()
    held, since = Footprint.of(server), time.monotonic()

    def steady() -> bool:
        nonlocal held, since
        now = Footprint.of(server)
        if (now.descriptors, now.processes) != (held.descriptors, held.processes):
            held, since = now, time.monotonic()
        return time.monotonic() - since > _STEADY_SECONDS

    wait_until(steady, lambda: str(held))
    return Footprint.of(server)
