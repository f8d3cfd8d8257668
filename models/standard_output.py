"""Standard output that cannot be written: its reader has gone, or its disk is full."""

from __future__ import annotations

import os
import sys


def is_lost() -> bool:
    """Returns True if standard output cannot be written; drops its rest then, which Python would report again at exit.

    A text that could not be written stays in the buffer, so that another attempt fails as the first one did.
    """
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def refusal(error: OSError) -> str:
    """Returns the message about an error of standard output, with the remedy."""
    return f"error: the output could not be written ({error.strerror}); write it to another disk or a terminal."
