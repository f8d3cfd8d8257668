"""The progress of a client: how many bytes the client has read and sent, by the kernel's counts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import select
import sys
import termios

from service.http.connection_watch import ConnectionWatch

#: In each `idle_seconds`, a client has to read this part of its unread bytes at the beginning. Otherwise, a client that
#: reads a byte now and then would keep tens of megabytes in memory for days. So an answer of any size is read, or the
#: connection is closed, within 16 times `idle_seconds`.
LEAST_SHARE = 16

_PROBE_AFTER_SECONDS = 2.0  # on the watch's clock


class ClientProgress:
    """The bytes that one client has read and sent.

    Args:
        transport: transport of the client's connection.
        watch: watch of all connections, whose clock and limits apply.

    Attributes:
        overdue_bytes: number of bytes that arrived in time, but were still unread when the time was over.
        half_closed: True after the client has closed its side of the connection.
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
        # While writing is paused: number of unread bytes and time at the last check that found enough bytes read.
        self._unread = (0, 0.0)
        self._least_bytes = 1  # bytes that the client has to read for progress
        self._overdue_since = -1.0  # `since` of the head or body whose time is over
        self._half_closed_since = 0.0
        self.overdue_bytes = 0
        self.half_closed = False
        self.is_probed = False

    def begin_unread(self) -> None:
        """Starts to measure the client's reading, after writing has paused."""
        size = self._unread_bytes()
        self._unread = (size, self._watch.now)
        self._least_bytes = max(1, size // LEAST_SHARE)

    def reads(self) -> bool:
        """Returns True if the client read enough of the pending output within `idle_seconds`, or none is pending."""
        if not self._transport.get_write_buffer_size():
            return True
        size, since = self._unread
        left = self._unread_bytes()
        if left <= size - self._least_bytes:
            self._unread = (left, self._watch.now)
            return True
        return self._watch.now - since <= self._watch.limits.idle_seconds

    def came_in_time(self, since: float) -> bool:
        """Returns True if some bytes that arrived before the time limit of a head or body are still unread.

        Later bytes do not count; otherwise a client could send forever.

        Args:
            since: start of this head or body, on the watch's clock.
        """
        if self._overdue_since != since:
            self._overdue_since, self.overdue_bytes = since, self._in_kernel(termios.FIONREAD)
        return self.overdue_bytes > 0

    def has_sent(self) -> bool:
        """Returns True if the socket has unread bytes from the client."""
        return self._in_kernel(termios.FIONREAD) > 0

    def half_close(self) -> None:
        """Marks the client as half-closed: the client sends no more bytes."""
        self.half_closed = True
        self._half_closed_since = self._watch.now

    def wants_probe(self) -> bool:
        """Returns True once, if a half-closed client has waited for so long that the client may be gone.

        A half-closed and a closed connection look the same until the server writes: a client that is gone answers with
        a reset.
        """
        if self.is_probed or self._watch.now - self._half_closed_since < _PROBE_AFTER_SECONDS:
            return False
        self.is_probed = True
        return not self._transport.get_write_buffer_size()

    def has_gone(self) -> bool:
        """Returns True if a half-closed client's connection was reset, which no read would report."""
        descriptor = self._transport.get_extra_info("socket").fileno()
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, 0)
        return bool(poll.poll(0))  # POLLHUP or POLLERR, which `poll` always reports

    def _unread_bytes(self) -> int:
        """Returns the number of unsent bytes in the transport and in the kernel, whose buffer holds megabytes."""
        return self._transport.get_write_buffer_size() + self._in_kernel(termios.TIOCOUTQ)

    def _in_kernel(self, question: int) -> int:
        """Returns the number of bytes in the kernel's buffer for sending (`TIOCOUTQ`) or receiving (`FIONREAD`)."""
        answer = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), question, answer)
        return int.from_bytes(answer, sys.byteorder)
