"""The command `axon-serve health`: asks the server on this machine with the same settings about readiness.

The command connects directly. A proxy of the environment (`http_proxy`) is not for this connection, and certificates
are not verified, because they name the service and not the loopback address. The module imports little, because a
container's health check runs it every few seconds.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from pathlib import Path
from typing import Any

from service.settings import Settings

_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- the address of a server that listens everywhere
_MAX_ANSWER_BYTES = 1 << 16


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connects to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ill_health(settings: Settings, *, probe: str = "ready", seconds: float = 2.0) -> str | None:
    """Sends a probe to the server that has these settings.

    Args:
        settings: settings of the server.
        probe: `ready` or `live`.
        seconds: time limit for connecting, and for each wait for the answer.

    Returns:
        None if the answer is 200; otherwise a sentence with the answer's reason, or with the reason of no answer.
    """
    connection, place = _connection(settings, seconds)
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


def _connection(settings: Settings, seconds: float) -> tuple[http.client.HTTPConnection, str]:
    path: Path | None = getattr(settings, "socket", None)
    if path is not None:
        return _UnixConnection(path, seconds), str(path)
    host = _ANYWHERE.get(str(settings.host), str(settings.host))
    place = f"[{host}]:{settings.port}" if ":" in host else f"{host}:{settings.port}"
    if getattr(settings, "tls_certificate", None) is None:
        return http.client.HTTPConnection(host, settings.port, timeout=seconds), place
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, settings.port, timeout=seconds, context=trusting), place


def _reason(text: bytes) -> str:
    try:
        document: Any = json.loads(text)
    except ValueError:
        return "an answer that is not this server's"
    return str(document.get("reason") or document.get("status")) if isinstance(document, dict) else "no reason"
