"""nginx and HAProxy in front of servers, and a replica as their second server."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from serving import wait_until

NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream axon {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://axon; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """
global
  maxconn 1000
defaults
  mode http
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  retries 3
  option redispatch 1
frontend clients
  bind 127.0.0.1:{port}
  default_backend axon
backend axon
{servers}
"""


def free_port() -> int:
    """Returns a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Proxy:
    """nginx or HAProxy, for the length of a `with` block.

    Args:
        kind: `nginx` or `haproxy`.
        folder: folder for the proxy's files.
        upstreams: ports of the servers; the others are used only while the first cannot be reached.
    """

    def __init__(self, kind: str, folder: Path, upstreams: Sequence[int]) -> None:
        self.port = free_port()
        self._log = folder / "error.log"
        config = folder / f"{kind}.conf"
        if kind == "nginx":
            servers = " ".join(f"server 127.0.0.1:{port}{' backup' * (i > 0)};" for i, port in enumerate(upstreams))
            config.write_text(NGINX.format(folder=folder, port=self.port, servers=servers))
            self._command = ["nginx", "-p", str(folder), "-c", str(config), "-e", str(self._log)]
        else:
            check = " check inter 100ms fall 1" * (len(upstreams) > 1)
            servers = "\n".join(
                f"  server s{i} 127.0.0.1:{port}{check}{' backup' * (i > 0)}" for i, port in enumerate(upstreams)
            )
            config.write_text(HAPROXY.format(port=self.port, servers=servers))
            self._command = ["haproxy", "-f", str(config)]

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        wait_until(self._listens)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait()

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def broken(self) -> list[str]:
        """Returns nginx's log lines about upstream errors other than refused connections."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [line for line in lines if "[error]" in line and "connect() failed (111" not in line]


class Replica:
    """A server that answers each request with 200 and `{}`, as the balancer's second server."""

    def __init__(self) -> None:
        self.answers = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="replica")

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        self._clients: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._done.wait()
        server.close()
        for client in self._clients:
            client.close()
        await asyncio.gather(*(task for task in asyncio.all_tasks() if task is not asyncio.current_task()))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = re.search(rb"content-length: *(\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                self.answers += 1
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (OSError, EOFError):
            self._clients.discard(writer)
            writer.close()
