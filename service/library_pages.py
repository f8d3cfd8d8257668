"""The pages of library files in a process, many of which only its start uses.

When a process lets go of a page, the page stays in the kernel's cache. A process that needs the page again finds it
there, in about a microsecond.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
from pathlib import Path

_MADV_DONTNEED = 4
_libc = ctypes.CDLL(None)

_FILE = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) r-.p \S+ \S+ [1-9]\d* ", re.ASCII)  # private, and not writable
_CHANGED = re.compile(r"^(?:Anonymous|Swap|Locked): +[1-9]", re.MULTILINE)

Mappings = list[tuple[int, int]]  # start and end addresses


def library_mappings() -> Mappings:
    """Returns the mappings of this process whose pages are all as in their file, and cannot be changed.

    They are the same in a fork. A library's table of addresses is not among them: it is changed when the library is
    loaded, and write-protected afterwards.
    """
    found: Mappings = []
    with contextlib.suppress(OSError):
        for mapping in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
            file = _FILE.match(mapping)
            if file is not None and not _CHANGED.search(mapping):
                found.append((int(file[1], 16), int(file[2], 16)))
    return found


def let_go_of(mappings: Mappings) -> None:
    """Removes the pages of mappings from this process.

    Args:
        mappings: result of `library_mappings` in this process, or before the fork of this process.
    """
    for start, end in mappings:
        _libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_DONTNEED)
