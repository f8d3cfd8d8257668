"""The identity of a file's content, which changes when the file is altered in place, replaced, or moved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_COARSE_CLOCK = 5  # CLOCK_REALTIME_COARSE, the clock of the kernel's file times; Python has no name for it
_TICK_SECONDS = 0.02  # the coarse clock advances every 1 to 10 ms
_MOST_TICKS = 5  # a file time from another machine's clock may lie far in the future


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """The kernel's record of a file. A writer can keep size and time of modification the same, but not `changed_ns`.

    Attributes:
        device: device of the file system.
        inode: number of the file in it.
        size: length in bytes.
        modified_ns: time of the last modification, in nanoseconds since the epoch.
        changed_ns: time of the last change of content, owner, mode or links, set by the kernel alone.
        signature: identity of the signature beside the file; None without one, or if signatures are not verified.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int
    signature: FileIdentity | None = None

    @classmethod
    def of(cls, path: Path) -> Self:
        """Reads the identity of a file. A caller that reads the file afterwards may rely on the identity: each later
        change gives a different identity.

        File times have the resolution of the kernel's tick. A second change in the same tick would leave no trace, so
        for a file that was changed in the current tick the method waits for the next one.

        Raises:
            OSError: The kernel cannot give the file's record.
        """
        for _ in range(_MOST_TICKS):
            now = time.clock_gettime_ns(_COARSE_CLOCK)
            stat = path.stat()
            if stat.st_ctime_ns < now:
                break
            time.sleep(_TICK_SECONDS)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
