"""The memory of large buffers while a process holds many bodies at once.

The C library takes a large buffer from its heap, and keeps a freed one there for the next. That is fast. But one small
object above freed buffers that lives on keeps the whole heap below, and after hundreds of bodies at once that would be
hundreds of megabytes. So while many bytes are held, each further large buffer gets pages of its own, which go back to
the system with the buffer. Fresh pages cost a third more CPU time in reading a body of 6 MB, so this ends with the
crowd.
"""

from __future__ import annotations

import ctypes

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # parameters of glibc's mallopt
_MIB = 1 << 20
_CROWDED_BYTES = 64 * _MIB
_CALM_BYTES = 16 * _MIB
_LARGE_BYTES = _MIB  # while bodies crowd, a buffer from this size on gets pages of its own
_LARGEST_BYTES = 32 * _MIB  # otherwise from this size on: the largest threshold that glibc takes, and chooses by itself

_set_option = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has no such options, and its heap keeps less


class BufferMemory:
    """The choice of memory for large buffers of this process, by the number of bytes that bodies hold.

    The choice is one for the process. The doors of a process each report their bodies under a name of their own.
    """

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self.is_crowded = False

    def report(self, door: str, held: int) -> None:
        """Takes note of the bytes that the bodies of a door hold now.

        Args:
            door: name of the door.
            held: number of bytes.
        """
        self._held[door] = held
        total = sum(self._held.values())
        if not self.is_crowded and total > _CROWDED_BYTES:
            self._set(is_crowded=True)
        elif self.is_crowded and total < _CALM_BYTES:
            self._set(is_crowded=False)

    def _set(self, *, is_crowded: bool) -> None:
        self.is_crowded = is_crowded
        if _set_option is not None:
            _set_option(_MMAP_THRESHOLD, _LARGE_BYTES if is_crowded else _LARGEST_BYTES)
            _set_option(_TRIM_THRESHOLD, 2 * _LARGEST_BYTES)


buffer_memory = BufferMemory()
