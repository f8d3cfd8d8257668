"""How far a client has come: what it has read of its answers, and sent of its request, as far as the kernel tells."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import sys
import termios

from service.http.connection_watch import ConnectionWatch

#: In each `idle_seconds`, a client has to read this part of what waited for it at first. A byte now and then would keep
#: tens of megabytes in memory for days; an answer of any size is read, or its client let go, within 16 times that.
LEAST_SHARE = 16

_PROBE_AFTER_SECONDS = 2.0  # by the watch's clock


class ClientProgress:
    """What one client has read and sent.

    Attributes:
        overdue_bytes: bytes that had come in time and are still to be read, once the time was over.
        half_closed: True once the client has said that it sends no more.
    """

    __slots__ = (
        "_half_closed_since",
        "_least_bytes",
        "_overdue_since",
        "_transport",
        "_unread",
        "_watch",
        "half_closed",
        "is_probed",
        "overdue_bytes",
    )

    def __init__(self, transport: asyncio.Transport, watch: ConnectionWatch) -> None:
        self._transport = transport
        self._watch = watch
        # While writing is paused: bytes that the client had not read at the last look that found enough of them read,
        # and the time of that look; and what is enough.
        self._unread = (0, 0.0)
        self._least_bytes = 1
        self._overdue_since = -1.0  # `since` of the head or body whose time is over
        self._half_closed_since = 0.0
        self.overdue_bytes = 0
        self.half_closed = False
        self.is_probed = False

    def begin_unread(self) -> None:
        """Takes note that writing has paused: from now on, the client has to read."""
        size = self._unread_bytes()
        self._unread = (size, self._watch.now)
        self._least_bytes = max(1, size // LEAST_SHARE)

    def reads(self) -> bool:
        """Returns True if the client read its share of its output within `idle_seconds`, or if none is pending."""
        if not self._transport.get_write_buffer_size():
            return True
        size, since = self._unread
        left = self._unread_bytes()
        if left <= size - self._least_bytes:
            self._unread = (left, self._watch.now)
            return True
        return self._watch.now - since <= self._watch.limits.idle_seconds

    def came_in_time(self, since: float) -> bool:
        """Returns True if bytes are still to be read that had come when the time of a head or a body was over.

        Later bytes do not count: a client that is never done would have no end.

        Args:
            since: begin of that head or body, by the watch's clock.
        """
        if self._overdue_since != since:
            self._overdue_since, self.overdue_bytes = since, self._in_kernel(termios.FIONREAD)
        return self.overdue_bytes > 0

    def has_sent(self) -> bool:
        """Returns True if bytes of the client are still to be read."""
        return self._in_kernel(termios.FIONREAD) > 0

    def half_close(self) -> None:
        """Takes note that the client sends no more."""
        self.half_closed = True
        self._half_closed_since = self._watch.now

    def wants_probe(self) -> bool:
        """Returns True, once, if a half-closed client has waited so long that it may have gone altogether.

        Both look the same until something is written to the client: one that has gone answers with a reset.
        """
        if self.is_probed or self._watch.now - self._half_closed_since < _PROBE_AFTER_SECONDS:
            return False
        self.is_probed = True
        return not self._transport.get_write_buffer_size()

    def has_gone(self) -> bool:
        """Returns True if the connection of a half-closed client was reset; nothing is read from it that would tell."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, 0)
        return bool(poll.poll(0))  # POLLHUP or POLLERR, which are always told

    def _unread_bytes(self) -> int:
        """Bytes on their way to the client, here and in the kernel, which takes megabytes of it, and in strides."""
        return self._transport.get_write_buffer_size() + self._in_kernel(termios.TIOCOUTQ)

    def _in_kernel(self, question: int) -> int:
        """Bytes that wait in the kernel: on their way out (`TIOCOUTQ`), or in (`FIONREAD`)."""
        answer = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), question, answer)
        return int.from_bytes(answer, sys.byteorder)
