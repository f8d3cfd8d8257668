"""Standard output that cannot be written: its reader has gone, or its disk is full."""

from __future__ import annotations

import errno
import os
import sys

# Files of Axon's own have errors of their own, which name the file.
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def is_lost(error: OSError) -> bool:
    """Returns True for an error of standard output; its rest is dropped then, on which Python would fail again."""
    is_output = isinstance(error, BrokenPipeError) or (error.filename is None and error.errno in _OF_OUTPUT)
    if is_output:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return is_output


def refusal(error: OSError) -> str:
    """Returns the message about an error of standard output, with the remedy."""
    return f"error: the output could not be written ({error.strerror}); write it to another disk or a terminal."
