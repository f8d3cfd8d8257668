"""The fork server: a process without threads that forks the API processes, the first ones and their successors.

The main process has threads once it serves, and a fork of it could inherit a lock that one of them holds. The fork
server has imported and made all that an API process needs, and waits. An API process is a fork of it, so all of them
share this memory, and a successor starts its work at once.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import select
import signal
import socket
import struct
from collections.abc import Callable
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from service.library_pages import let_go_of, library_mappings
from service.logs import get_logger
from service.process_name import set_process_name
from service.stop_signals import HURRY_SIGNAL, stop_signals_blocked

_REQUEST = struct.Struct("<i?")  # position of a process; True for a successor
_REPLY = struct.Struct("<ii")  # process id, and the number of an error or 0
_END = -1  # a position that asks the fork server to kill all API processes and to end
_REPLY_SECONDS = 10.0  # a fork takes milliseconds; a fork server without a reply is stopped or hangs
_END_SECONDS = 5.0

StartApi = Callable[[int, bool], BaseProcess]  # forks an API process, by its position; True for a successor

log = get_logger(__name__)


class ForkServerLost(Exception):
    """An error for a fork server that has died or does not reply."""


class ApiHandle:
    """A handle of an API process: a descriptor, so that a signal never reaches another process.

    Args:
        number: position of the process.
        pid: process id.
        sentinel: descriptor of the process (pidfd), which becomes readable when the process ends.
    """

    def __init__(self, number: int, pid: int, sentinel: int) -> None:
        self.pid = pid
        self.sentinel = sentinel
        self.name = f"api-{number}"

    def is_alive(self) -> bool:
        """Returns True until the process has ended."""
        poll = select.poll()
        poll.register(self.sentinel, select.POLLIN)
        return not poll.poll(0)

    def send(self, signum: signal.Signals) -> None:
        """Sends a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.sentinel, signum)

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self.sentinel)


class ForkServer:
    """The fork server, for the main process. Make the object before there are threads.

    Args:
        start: function that forks an API process; the fork server calls it.
        orphans_seconds: time that API processes have for their end after the main process was killed, in seconds.

    Attributes:
        sentinel: descriptor that becomes readable when the fork server ends.
    """

    def __init__(self, start: StartApi, *, orphans_seconds: float) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        loop = _ForkLoop(theirs, start, orphans_seconds)
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=loop.run, args=(self._channel,), name="fork-server")
        with stop_signals_blocked():
            self._process.start()
        theirs.close()
        self._channel.settimeout(_REPLY_SECONDS)
        # The sentinel of `multiprocessing` is a pipe, which the API processes inherit.
        self.sentinel = os.pidfd_open(self._process.pid or 0)

    def start(self, number: int, *, is_successor: bool) -> ApiHandle:
        """Starts an API process.

        Args:
            number: position of the process.
            is_successor: True if the process replaces a dead one.

        Raises:
            ForkServerLost: the fork server has died, or does not reply.
            OSError: no process can be started now.
        """
        try:
            self._channel.send(_REQUEST.pack(number, is_successor))
            reply, descriptors, _, _ = socket.recv_fds(self._channel, _REPLY.size, 1, socket.MSG_CMSG_CLOEXEC)
        except (ConnectionError, TimeoutError):
            reply, descriptors = b"", []
        if not reply:
            self._process.kill()  # a late reply would be taken for that of another request
            raise ForkServerLost
        pid, fault = _REPLY.unpack(reply)
        if not descriptors:
            raise OSError(fault or errno.EMFILE, os.strerror(fault or errno.EMFILE))
        return ApiHandle(number, pid, descriptors[0])

    def has_ended(self) -> bool:
        """Returns True if the fork server has died."""
        return not self._process.is_alive()

    def close(self) -> None:
        """Kills all API processes, and ends the fork server."""
        with contextlib.suppress(OSError):
            self._channel.send(_REQUEST.pack(_END, False))
        self._channel.close()
        self._process.join(_END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        os.close(self.sentinel)


class _ForkLoop:
    """The work of the fork server.

    Args:
        channel: socket to the main process.
        start: function that forks an API process.
        orphans_seconds: time that API processes have for their end after the main process was killed, in seconds.
    """

    def __init__(self, channel: socket.socket, start: StartApi, orphans_seconds: float) -> None:
        self._channel = channel
        self._start = start
        self._orphans_seconds = orphans_seconds
        self._number = 0  # position of the process that starts next
        self._children: dict[int, BaseProcess] = {}  # by sentinel

    def run(self, theirs: socket.socket) -> None:
        """Forks API processes until the main process asks for the end, or is gone.

        Args:
            theirs: the main process's end of the channel, which only that process may keep open.
        """
        theirs.close()
        set_process_name("axon-forkserver")
        # An API process starts with these signals blocked, so that none is lost or ends it before it can act on them.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, HURRY_SIGNAL))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for ignored in (signal.SIGINT, signal.SIGHUP):
            signal.signal(ignored, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGHUP))
        os.register_at_fork(after_in_child=self._after_fork)
        let_go_of(library_mappings())
        try:
            while self._serve_one():
                pass
        except ConnectionError:  # the main process was killed before it had the reply
            self._let_orphans_end()
        finally:
            for child in self._children.values():
                child.kill()
                child.join()

    def _serve_one(self) -> bool:
        """Serves one request of the main process; returns False after the last."""
        while self._channel not in (ready := wait([self._channel, *self._children])):
            for sentinel in ready:
                self._reap(self._children.pop(sentinel))  # type: ignore[arg-type]
        request = self._channel.recv(_REQUEST.size)
        if not request:
            self._let_orphans_end()
            return False
        self._number, is_successor = _REQUEST.unpack(request)
        if self._number == _END:
            return False
        try:
            child = self._start(self._number, is_successor)
        except OSError as error:
            self._channel.send(_REPLY.pack(0, error.errno or errno.EAGAIN))
            return True
        child.name = f"api-{self._number}"
        self._children[child.sentinel] = child
        handle = os.pidfd_open(child.pid or 0)
        try:
            socket.send_fds(self._channel, [_REPLY.pack(child.pid or 0, 0)], [handle])
        finally:
            os.close(handle)
        return True

    def _after_fork(self) -> None:
        """Runs first in an API process."""
        set_process_name(f"axon-api-{self._number}")
        self._channel.close()

    def _reap(self, child: BaseProcess) -> None:
        child.join()
        write = log.info if child.exitcode in (0, -signal.SIGTERM) else log.error
        write("API process ended", api_process=child.name, pid=child.pid, exit_code=child.exitcode)

    def _let_orphans_end(self) -> None:
        """Waits for the end of the API processes. Unless one hangs, all end when the main process is gone."""
        for child in self._children.values():
            child.join(self._orphans_seconds)
