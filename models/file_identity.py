"""The identity of a file's content: it differs once the file was altered in place, replaced, or moved elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_COARSE_CLOCK = 5  # CLOCK_REALTIME_COARSE, with which the kernel stamps files; Python has no name for it
_TICK_SECONDS = 0.02  # the coarse clock advances every 1 to 10 ms
_MOST_TICKS = 5  # a stamp of another machine's clock may lie in the future for long


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """What the kernel says of a file. Whoever writes can keep its size and its time of modification, but not
    `changed_ns`.

    Attributes:
        device: device of the file system.
        inode: number of the file in it.
        size: length in bytes.
        modified_ns: time of the last modification, in nanoseconds since the epoch.
        changed_ns: time of the last change of content, owner, mode or links, set by the kernel alone.
    """

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Looks at a file. Whoever reads the file afterwards may rely on it: a later change gives another identity.

        Stamps have the resolution of the kernel's tick, so a file that was changed in this very tick is looked at again
        in the next one: a second change in the same tick would leave no trace.

        Raises:
            OSError: the file cannot be looked at.
        """
        for _ in range(_MOST_TICKS):
            now = time.clock_gettime_ns(_COARSE_CLOCK)
            stat = path.stat()
            if stat.st_ctime_ns < now:
                break
            time.sleep(_TICK_SECONDS)
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
