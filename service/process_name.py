"""The name of a process, which `ps` and `top` show."""

from __future__ import annotations

import contextlib
from pathlib import Path


def set_process_name(name: str) -> None:
    """Names this process, so that `ps -o comm` shows its part in the server.

    Args:
        name: name of at most 15 bytes; the kernel cuts a longer one.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name)
