"""Accepts connections on a listening socket: many in one turn of the event loop, and fairly among API processes.

libuv accepts one connection per turn, so new clients wait for seconds beside a thousand busy connections. If several
processes accept from one queue, the process that wakes first takes all connections.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

from service.certificate import Certificate
from service.http.connection_shares import Share
from service.http.connection_watch import HttpLimits
from service.logs import LimitedLog, get_logger

HANDSHAKES_SECONDS = 0.25  # after a listener is hidden, time for TCP handshakes that have begun to reach its queue
_TLS_SECONDS = 1.0  # the additional time for TLS handshakes
_YIELDS = 20  # turns of the loop in which a process leaves the queue to others, before it waits
_WAIT_SECONDS = 0.002
_MAX_WAITS = 50  # in a row, 100 ms; then processes that have not come count as hung, and are not waited for again
_PAUSE_SECONDS = 0.2
_LEAST_PENDING = 1024  # connections whose protocol may be unconnected, even if fewer connections are allowed
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

limited_log = LimitedLog(get_logger(__name__))


class Connection(asyncio.Protocol):
    """The protocol of a connection; the acceptor learns when the connection ends.

    Attributes:
        on_lost: function that is called at the end of the connection.
    """

    on_lost: Callable[[], None] | None


class Acceptor:
    """A server on a listening socket that other processes share, with the methods of asyncio's that uvicorn calls.

    Args:
        loop: event loop of this process.
        make_protocol: factory of the connections' protocols.
        listener: listening socket, non-blocking.
        share: share of this process in all connections.
        limits: limits with the time for a head, which also holds for a TLS handshake, and the number of connections.
        certificate: TLS certificate; None serves plain HTTP.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make_protocol: Callable[[], Connection],
        listener: socket.socket,
        share: Share,
        limits: HttpLimits,
        certificate: Certificate | None = None,
    ) -> None:
        self._loop = loop
        self._make_protocol = make_protocol
        self._listener = listener
        self._share = share
        self._limits = limits
        self._certificate = certificate
        self._pending: set[asyncio.Task[Any]] = set()  # connections whose protocol is not connected yet
        self._yielded = 0  # turns in a row that left the queue to others
        self._waited = 0  # waits in a row
        self._timer: asyncio.TimerHandle | None = None
        self._open = True
        self._finishing = False
        loop.add_reader(listener, self._accept_some)

    async def finish(self) -> None:
        """Accepts all connections that wait or whose handshake has begun, and then stops.

        The listener was hidden before (`Listeners.hide`), so no new client can connect.
        """
        self._finishing = True
        self._resume()
        await asyncio.sleep(HANDSHAKES_SECONDS)
        self._accept(None)
        self.close()
        if self._pending:
            await asyncio.wait(self._pending, timeout=_TLS_SECONDS)

    def close(self) -> None:
        """Stops accepting. The socket stays open, because other processes share it."""
        if self._open:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
            self._loop.remove_reader(self._listener)

    def is_serving(self) -> bool:
        """Returns True until the acceptor is closed."""
        return self._open

    async def wait_closed(self) -> None:
        """Cancels the connections that are not complete yet."""
        for task in self._pending:
            task.cancel()

    def _accept_some(self) -> None:
        """Accepts this process's share of the waiting connections, or leaves the queue to other processes."""
        if self._finishing:
            self._accept(None)
            return
        room = self._share.room()
        if not room and self._waited >= _MAX_WAITS:
            self._share.pass_over_absent()
            self._yielded = self._waited = 0
            room = self._share.room()
        if room:
            self._yielded = self._waited = 0
            self._accept(room)
            return
        if not self._yielded:
            self._share.leave_to_others()
        self._yielded += 1
        if self._yielded <= _YIELDS:
            os.sched_yield()  # the others were woken too, and will soon accept; the loop comes back at once
            return
        self._waited += 1
        self._pause(_WAIT_SECONDS)

    def _accept(self, most: int | None) -> None:
        """Accepts up to `most` connections, or all that wait if `most` is None."""
        while most is None or most > 0:
            try:
                stream, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    limited_log.error(
                        "connections wait: this process has run out of files or memory", reason=error.strerror
                    )
                    self._pause(_PAUSE_SECONDS)
                    return
                if error.errno in (errno.EINVAL, errno.EBADF):  # the main process has closed it
                    self.close()
                    return
                # Otherwise, the client or its network is gone already.
            else:
                self._take(stream)
            most = None if most is None else most - 1

    def _take(self, stream: socket.socket) -> None:
        """Makes a connection's protocol and transport."""
        if len(self._pending) >= max(self._limits.max_connections, _LEAST_PENDING):
            stream.close()  # too many clients have connected and begun no TLS handshake
            return
        self._share.opened()
        if self._certificate is None:
            connected = self._loop.connect_accepted_socket(self._make_counted, stream)
        else:
            connected = self._loop.connect_accepted_socket(
                self._make_counted,
                stream,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._limits.header_seconds,
            )
        task = self._loop.create_task(connected)
        self._pending.add(task)
        task.add_done_callback(self._connected)

    def _make_counted(self) -> Connection:
        protocol = self._make_protocol()
        protocol.on_lost = self._lost
        return protocol

    def _lost(self) -> None:
        """Counts the end of a connection, and accepts again if this process was waiting."""
        self._share.closed()
        if self._waited and self._timer is not None:
            self._resume()

    def _connected(self, task: asyncio.Task[Any]) -> None:
        """Ends the pending state of a connection, and counts the end of one whose TLS handshake failed.

        After a failed handshake, the protocol has no connection, and never calls `on_lost`.
        """
        self._pending.discard(task)
        if (task.cancelled() or task.exception() is not None) and self._certificate is not None:
            self._lost()

    def _pause(self, seconds: float) -> None:
        self._loop.remove_reader(self._listener)
        self._timer = self._loop.call_later(seconds, self._resume)

    def _resume(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._open:
            self._loop.add_reader(self._listener, self._accept_some)
