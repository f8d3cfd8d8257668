"""The server whose model side fails on certain rows: `faulty_service.py` as a process."""

from __future__ import annotations

from serving import ROOT, Server


class FaultyServer(Server):
    """`python tests/faults/faulty_service.py` over a store, on a free port."""

    command = (str(ROOT / "tests/faults/faulty_service.py"),)
