"""The command `axon-serve health`: asks the server on this machine with the same settings about readiness.

The command connects directly. A proxy of the environment (`http_proxy`) is not for this connection, and certificates
are not verified, because they name the service and not the loopback address. The module imports little, because a
container's health check runs it every few seconds: where the address is plain, the settings are not read.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ssl

    from service.settings import Settings

DEFAULT_HOST, DEFAULT_PORT = "0.0.0.0", 8000  # noqa: S104
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_LARGEST_PORT = 65_535
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- the address of a server that listens everywhere
_MAX_ANSWER_BYTES = 1 << 16


class ServerAddress(NamedTuple):
    """The address of a server.

    Attributes:
        host: address or host name on which the server listens.
        port: port on which the server listens.
        socket: path of the Unix socket; None if the server listens on host and port.
        has_tls: True if the server speaks TLS.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    socket: Path | None = None
    has_tls: bool = False

    @classmethod
    def of(cls, settings: Settings) -> ServerAddress:
        """Returns the address of the server that has these settings."""
        return cls(settings.host, settings.port, settings.socket, settings.tls_certificate is not None)

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> ServerAddress | None:
        """Reads the address from the environment, without the settings and their libraries.

        Returns:
            The address; None if a variable is not plain, so that only `read_settings` knows what it means.
        """
        given = {name: value for name, value in environment.items() if name.upper() in _ADDRESS_VARIABLES}
        if not _ADDRESS_VARIABLES.issuperset(given) or not all(given.values()):
            return None
        host, port = given.get("AXON_HOST", DEFAULT_HOST), given.get("AXON_PORT", str(DEFAULT_PORT))
        if host.startswith("[") or not _PORT.fullmatch(port) or int(port) > _LARGEST_PORT:
            return None
        path = given.get("AXON_SOCKET")
        return cls(host, int(port), None if path is None else Path(path), "AXON_TLS_CERTIFICATE" in given)


_ADDRESS_VARIABLES = frozenset({"AXON_HOST", "AXON_PORT", "AXON_SOCKET", "AXON_TLS_CERTIFICATE"})


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket.

    Args:
        path: path of the socket.
        timeout: time limit in seconds.
        has_tls: True if the server speaks TLS.
    """

    def __init__(self, path: Path, timeout: float, *, has_tls: bool) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path
        self._has_tls = has_tls

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
        if self._has_tls:
            self.sock = _trusting().wrap_socket(self.sock)


def ill_health(address: ServerAddress, *, probe: str = "ready", seconds: float = 2.0) -> str | None:
    """Sends a probe to a server on this machine.

    Args:
        address: address of the server.
        probe: `ready` or `live`.
        seconds: time limit for connecting, and for each wait for the answer.

    Returns:
        None if the answer is 200; otherwise a sentence with the answer's reason, or with the reason of no answer.
    """
    connection, place = _connection(address, seconds)
    try:
        connection.request("GET", f"/health/{probe}", headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read(_MAX_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return f"{place} does not answer: {error or type(error).__name__}."
    finally:
        connection.close()
    if answer.status == http.client.OK:
        return None
    return f"{place} says {answer.status}: {_reason(text)}."


def _connection(address: ServerAddress, seconds: float) -> tuple[http.client.HTTPConnection, str]:
    if address.socket is not None:
        return _UnixConnection(address.socket, seconds, has_tls=address.has_tls), str(address.socket)
    host, port = _ANYWHERE.get(address.host, address.host), address.port
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if not address.has_tls:
        return http.client.HTTPConnection(host, port, timeout=seconds), place
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=_trusting()), place


def _trusting() -> ssl.SSLContext:
    """Returns a context that takes any certificate: the probe stays on this machine, and asks for no secret."""
    import ssl  # takes 20 ms, which a server without TLS need not wait for

    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return trusting


def _reason(text: bytes) -> str:
    try:
        document: Any = json.loads(text)
    except ValueError:
        return "an answer that is not this server's"
    return str(document.get("reason") or document.get("status")) if isinstance(document, dict) else "no reason"
