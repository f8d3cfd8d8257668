"""The longest hold of a server's event loop. Other work on the machine can only make the hold longer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from serving import Server, http_get, running, wait_until

HOLD_SECONDS = 0.01
ATTEMPTS = 5


def longest_hold(server: Server) -> float:
    """Returns the longest hold of an API process so far, in seconds."""
    text = http_get(f"{server.url}/metrics").text
    return max(float(line.split()[-1]) for line in text.splitlines() if line.startswith("axon_event_loop_longest_hold"))


def hold_under(load: Callable[[Server], None], store: Path, folder: Path, **settings: object) -> float:
    """Returns the longest hold under a load, in seconds; a new server is tried again if the hold is too long.

    Args:
        load: function that puts the load on a server.
        store: folder of the store.
        folder: folder for the servers' files.
        settings: settings of the servers.
    """
    hold = 0.0
    for attempt in range(ATTEMPTS):
        place = folder / f"attempt-{attempt}"
        place.mkdir()
        with running(store, place, **settings) as server:
            load(server)
            wait_until(lambda server=server: longest_hold(server) > 0)
            hold = longest_hold(server)
        if hold < HOLD_SECONDS:
            break
    return hold
