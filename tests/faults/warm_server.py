"""A server that has worked a little: its metric files and links are open, so that what it holds can be compared."""

from __future__ import annotations

import time

from crowd import Crowd
from footprint import Footprint
from serving import Server, wait_until

_STEADY_SECONDS = 2.0


def warm_up(server: Server) -> Footprint:
    """What it holds once it has answered a crowd, and opens nothing more."""
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
