"""The parent-death watch: the kernel ends a process when the parent ends, for any reason."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Asks the kernel to send this process `signum` when the parent thread that called `fork` ends.

    Args:
        parent: process id of the parent, read before the fork, because the parent may have ended meanwhile.
        signum: signal to send.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)
