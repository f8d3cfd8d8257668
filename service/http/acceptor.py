"""Accepts connections on one listening socket, many in a turn of the event loop, and fairly among API processes.

libuv accepts one connection a turn, so beside a thousand busy connections newcomers wait for seconds; and where
several processes accept from one queue, whichever wakes first takes them all.
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

HANDSHAKES_SECONDS = 0.25  # after a listener is hidden, TCP handshakes that have begun may end in its queue
_TLS_SECONDS = 1.0  # and TLS handshakes have this much longer
_YIELDS = 20  # turns of the loop in which a process leaves what waits to others, before it stands back from the queue
_STAND_BACK_SECONDS = 0.002
_STAND_BACKS = 50  # so often in a row: 100 ms, once for each process that hangs, and it is no longer waited for
_PAUSE_SECONDS = 0.2
_LEAST_PENDING = 1024  # of connections whose protocol is not connected yet, also where few connections are allowed
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

limited_log = LimitedLog(get_logger(__name__))


class Connection(asyncio.Protocol):
    """What an acceptor asks of its connections' protocol.

    Attributes:
        on_lost: callable for the end of the connection.
    """

    on_lost: Callable[[], None] | None


class Acceptor:
    """A server over one listening socket that other processes accept from, too: what uvicorn asks of asyncio's.

    Args:
        loop: event loop of this process.
        make_protocol: factory of the connections' protocols.
        listener: listening socket, non-blocking.
        share: connections of this process, among those of all.
        limits: time limit of a head, which is a TLS handshake's, too; number of connections.
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
        self._yielded = 0
        self._stood_back = 0
        self._timer: asyncio.TimerHandle | None = None
        self._open = True
        self._finishing = False
        loop.add_reader(listener, self._accept_some)

    async def finish(self) -> None:
        """Accepts all that waits, and what was about to, while nobody new can connect; then stops.

        The listener was hidden before (`Listeners.hide`).
        """
        self._finishing = True
        self._resume()
        await asyncio.sleep(HANDSHAKES_SECONDS)
        self._accept(None)
        self.close()
        if self._pending:
            await asyncio.wait(self._pending, timeout=_TLS_SECONDS)

    def close(self) -> None:
        """Stops accepting. The socket stays open: it belongs to other processes, too."""
        if self._open:
            self._open = False
            if self._timer is not None:
                self._timer.cancel()
            self._loop.remove_reader(self._listener)

    def is_serving(self) -> bool:
        """Returns True while connections are accepted."""
        return self._open

    async def wait_closed(self) -> None:
        """Ends the connections that are not complete yet."""
        for task in self._pending:
            task.cancel()

    def _accept_some(self) -> None:
        """Accepts this process's share of what waits, or leaves it to the others."""
        if self._finishing:
            self._accept(None)
            return
        room = self._share.room()
        if not room and self._stood_back >= _STAND_BACKS:
            self._share.pass_over_absent()
            self._yielded = self._stood_back = 0
            room = self._share.room()
        if room:
            self._yielded = self._stood_back = 0
            self._accept(room)
            return
        if not self._yielded:
            self._share.leave_to_others()
        self._yielded += 1
        if self._yielded <= _YIELDS:
            os.sched_yield()  # the others were woken, too, and take it in a moment; the loop comes back at once
            return
        self._stood_back += 1
        self._pause(_STAND_BACK_SECONDS)

    def _accept(self, most: int | None) -> None:
        """Accepts up to so many connections, or all that wait."""
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
                # The client, or the network below it, is gone already.
            else:
                self._take(stream)
            most = None if most is None else most - 1

    def _take(self, stream: socket.socket) -> None:
        """Makes a connection's protocol and transport."""
        if len(self._pending) >= max(self._limits.max_connections, _LEAST_PENDING):
            stream.close()  # a flood of clients that connect and begin no TLS
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
        """A connection has ended: there may be room for the next."""
        self._share.closed()
        if self._stood_back and self._timer is not None:
            self._resume()

    def _connected(self, task: asyncio.Task[Any]) -> None:
        """The connection is complete, or its client spoke no TLS: then its protocol never had a connection to lose."""
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
