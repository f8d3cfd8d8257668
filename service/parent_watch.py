"""A process that ends when its parent does, however the parent came to its end: the kernel sees to it."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Asks the kernel to send this process `signum` when the thread that forked it ends.

    Args:
        parent: the parent's process id, taken before the fork: it may have ended meanwhile.
        signum: what to send.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:
        os.kill(os.getpid(), signum)
