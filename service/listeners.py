"""The listening sockets: TCP addresses or a Unix socket, opened once by the main process for all API processes.

All API processes accept from one queue, so a process that hangs or dies does not delay the connections in the queue.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import select
import socket
import stat
from pathlib import Path
from typing import Any

from service.settings import Settings

BACKLOG = 4096  # connections that may wait to be accepted; the kernel limits it to net.core.somaxconn
_SO_BINDTOIFINDEX = 62  # asm-generic/socket.h; Python has no name for it
_NO_INTERFACE = 0x7FFF_FFFF
_NO_SUCH_ADDRESS = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_MAX_SOCKET_PATH = 107  # bytes that a Unix socket's address holds on Linux


class ListenError(Exception):
    """An address or socket that the server cannot listen on; the message is one sentence for the user."""


class Listeners:
    """The listening sockets of a server.

    The constructor binds TCP addresses, so that a wrong address ends the start at once. Clients cannot connect before
    `listen`. A Unix socket has no path before `listen`.

    Args:
        settings: settings with `host` and `port`, or `socket` and `socket_mode`.

    Attributes:
        sockets: one socket for each address of the host, or the Unix socket.
        grpc_sockets: one socket for each address of the host, with the port of gRPC; empty without such a port.
        url: base URL of the service, or `unix:` and the socket's path.
    """

    def __init__(self, settings: Settings) -> None:
        self._path = settings.socket
        self._mode = int(settings.socket_mode, 8)
        self._identity: tuple[int, int] | None = None
        if self._path is None:
            scheme = "http" if settings.tls_certificate is None else "https"
            host = settings.host
            self.sockets = _bind_tcp(host, settings.port)
            self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{settings.port}"
        else:
            self.sockets = [_make_unix_socket(self._path)]
            self.url = f"unix:{self._path}"
        self.grpc_sockets: list[socket.socket] = []
        if settings.grpc_port is not None:
            try:
                self.grpc_sockets = _bind_tcp(settings.host, settings.grpc_port, "AXON_GRPC_PORT")
            except ListenError:
                self.close()
                raise

    def listen(self) -> list[socket.socket]:
        """Lets clients connect, and returns the sockets of HTTP.

        Raises:
            ListenError: another server listens there meanwhile.
        """
        if self._path is not None:
            self._bind_path(self._path)
        for listener in self._all:
            try:
                listener.listen(BACKLOG)
            except OSError as error:
                host, port = listener.getsockname()[:2]
                setting = "AXON_GRPC_PORT" if listener in self.grpc_sockets else "AXON_PORT"
                raise ListenError(_tcp_fault(host, port, error, setting)) from None
            listener.setblocking(False)
        return self.sockets

    def hide(self) -> None:
        """Refuses new connections from now on; connections that the kernel has accepted stay in the queue.

        Closing a listening socket would reset all connections in its queue. Instead, a TCP socket is bound to an
        interface that does not exist. Then no SYN reaches the socket, so that new clients are refused, and handshakes
        that have begun still end in the queue. A Unix socket is hidden by removing its path. The call may be repeated,
        also by another process.
        """
        if self._path is not None:
            self._remove_path()
        for listener in self._all:
            if listener.family == socket.AF_UNIX:
                continue
            # EPERM: another process has hidden it. Other errors: a kernel before 5.7; the socket listens until `close`.
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, _NO_INTERFACE)

    def all_accepted(self) -> bool:
        """Returns True if no connection waits to be accepted."""
        poll = select.poll()
        for listener in self._all:
            poll.register(listener, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Closes the sockets for all processes, which resets the connections in their queues."""
        self._remove_path()
        for listener in self._all:
            # Closing is not enough: child processes have copies, which would take connections that nobody answers.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        self.sockets, self.grpc_sockets = [], []

    def close_copies(self) -> None:
        """Closes the copies that a forked process has inherited; the sockets of the other processes stay open."""
        for listener in self._all:
            listener.close()
        self.sockets, self.grpc_sockets = [], []

    @property
    def _all(self) -> list[socket.socket]:
        return [*self.sockets, *self.grpc_sockets]

    def _bind_path(self, path: Path) -> None:
        _remove_stale(path)
        previous = os.umask(0o777)  # no client may connect before the mode is set
        try:
            self.sockets[0].bind(str(path))
            path.chmod(self._mode)
            found = path.stat()
        except OSError as error:
            raise ListenError(_path_fault(path, error)) from None
        finally:
            os.umask(previous)
        self._identity = (found.st_dev, found.st_ino)

    def _remove_path(self) -> None:
        """Removes the path of the socket, unless the path now belongs to another server's socket."""
        if self._path is None or self._identity is None:
            return
        with contextlib.suppress(OSError):
            found = self._path.lstat()
            if (found.st_dev, found.st_ino) == self._identity:
                self._path.unlink()


def is_loopback(settings: Settings) -> bool:
    """Returns True if only this machine can connect: through a Unix socket or a loopback address.

    gRPC has an address of its own also beside a Unix socket.
    """
    if settings.host == "localhost" or (settings.socket is not None and settings.grpc_port is None):
        return True
    try:
        return ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        return False


def _bind_tcp(host: str, port: int, setting: str = "AXON_PORT") -> list[socket.socket]:
    """Binds every address of a host once; raises ListenError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ListenError(f"AXON_HOST: {host!r} is no address and no known host name: {reason}.") from None
    listeners, faults = [], []
    for family, address in dict.fromkeys((entry[0], entry[4]) for entry in found):
        try:
            listeners.append(_bind_address(family, address))
        except OSError as error:
            faults.append(error)
    # A name may have addresses that this machine lacks: `localhost` includes `::1` even on a machine without IPv6.
    serious = [fault for fault in faults if fault.errno not in _NO_SUCH_ADDRESS]
    if serious or not listeners:
        for listener in listeners:
            listener.close()
        raise ListenError(_tcp_fault(host, port, (serious or faults)[0], setting)) from None
    return listeners


def _bind_address(family: int, address: Any) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:  # `::` also accepts IPv4, even if the kernel's default differs
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


def _tcp_fault(host: str, port: int, error: OSError, setting: str) -> str:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match error.errno:
        case errno.EADDRINUSE:
            return f"{setting}: cannot listen on {place}: the port is taken."
        case errno.EACCES | errno.EPERM:
            return (
                f"{setting}: cannot listen on {place}: a port this low takes root, "
                "the capability CAP_NET_BIND_SERVICE, or a lower net.ipv4.ip_unprivileged_port_start."
            )
        case errno.EADDRNOTAVAIL:
            return f"AXON_HOST: cannot listen on {place}: no interface of this machine has this address."
        case errno.EAFNOSUPPORT:
            return f"AXON_HOST: cannot listen on {place}: this machine has no IPv6."
        case _:
            return f"AXON_HOST: cannot listen on {place}: {error.strerror}."


def _make_unix_socket(path: Path) -> socket.socket:
    """Makes a Unix socket, and checks the path before the socket is bound; raises ListenError."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise ListenError(
            f"AXON_SOCKET: {path} is longer than the {_MAX_SOCKET_PATH} bytes that a Unix socket may have."
        )
    if not path.parent.is_dir():
        raise ListenError(f"AXON_SOCKET: there is no folder {path.parent}.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise ListenError(f"AXON_SOCKET: the folder {path.parent} is not writable for this process.")
    _check_free(path)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _check_free(path: Path) -> bool:
    """Returns True if the path is a socket on which no server listens; raises ListenError if the path is taken."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ListenError(_path_fault(path, error)) from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"AXON_SOCKET: {path} is there already, and is no socket.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError as error:
            if error.errno != errno.EAGAIN:  # EAGAIN: its queue is full
                raise ListenError(_path_fault(path, error)) from None
    raise ListenError(f"AXON_SOCKET: another process listens on {path} already.")


def _remove_stale(path: Path) -> None:
    """Removes a socket that a killed server left behind."""
    if _check_free(path):
        try:
            path.unlink()
        except OSError as error:
            raise ListenError(_path_fault(path, error)) from None


def _path_fault(path: Path, error: OSError) -> str:
    return f"AXON_SOCKET: cannot listen on {path}: {error.strerror}."
