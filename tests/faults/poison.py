"""First cells (`area`) of rows of `price` for which `faulty_service.py` fails; rows of a crowd have none below 0."""

from __future__ import annotations

RAISES = -1001.0
HANGS = -1002.0  # never returns, but lets other threads run, as a wait for a device does
SPINS = -1003.0  # never returns, and holds the interpreter lock
SLOW = -1004.0  # takes `SLOW_SECONDS`
OUT_OF_MEMORY = -1005.0  # there is memory for `ROOM` rows
DEVICE_FAULT = -1006.0  # every time
FIRST_DEVICE_FAULT = -1007.0  # only the first time; the next worker works
FIRST_HANG = -1008.0  # only the first time

SLOW_SECONDS = 1.0
ROOM = 64
