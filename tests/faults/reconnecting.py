"""Clients that connect again: for each request, or whenever an answer says `Connection: close`.

The clients distinguish a lost request (the connection was accepted, but no whole answer came) from a refused one.
After a refusal nothing was accepted, and a client or a proxy can safely go elsewhere.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import orjson
import uvloop
from serving import wait_until

_BODY = orjson.dumps({"model": "price", "instances": [[100, 3]]})
_PATIENCE_SECONDS = 10.0
_RETRY_SECONDS = 0.005


@dataclass
class Outcome:
    """The results of the clients' requests.

    Attributes:
        statuses: number of whole answers by status.
        refused: number of attempts to connect that the kernel refused.
        lost: reasons of requests whose connection was accepted and that got no whole answer.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    refused: int = 0
    lost: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kinds = dict(Counter(self.lost))
        return f"{self.statuses.total()} answers {dict(self.statuses)}, {len(self.lost)} lost {kinds}"


class ReconnectingClients:
    """Clients in a closed loop in a thread of their own, for the length of a `with` block.

    Args:
        port: TCP port of the server or proxy.
        clients: number of clients.
        keep_alive: True if a client keeps its connection until an answer says `Connection: close`.
        pause_seconds: pause of a client between two requests.
    """

    def __init__(self, port: int, *, clients: int = 16, keep_alive: bool = False, pause_seconds: float = 0.0) -> None:
        self._port = port
        self._clients = clients
        self._keep_alive = keep_alive
        self._pause = pause_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconnecting")
        fields = [b"POST /predict HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(_BODY)]
        fields += [] if keep_alive else [b"Connection: close"]
        self._request = b"\r\n".join([*fields, b"", _BODY])
        self.outcome = Outcome()

    def __enter__(self) -> Self:
        self._thread.start()
        wait_until(lambda: self.outcome.statuses[200] > 10 * self._clients, lambda: str(self.outcome))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._all())

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    async def _client(self) -> None:
        while not self._done.is_set():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except ConnectionRefusedError:
                self.outcome.refused += 1
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            except OSError as error:  # the kernel accepted the connection, which broke before `connect` returned
                self.outcome.lost.append(repr(error))
                continue
            try:
                await self._requests(reader, writer)
            finally:
                writer.close()

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Sends requests on one connection until the server closes or breaks the connection."""
        while not self._done.is_set():
            try:
                writer.write(self._request)
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
                    await reader.readexactly(int(length[1]) if length else 0)
            except (OSError, EOFError, TimeoutError) as error:
                self.outcome.lost.append(type(error).__name__)
                return
            self.outcome.statuses[int(head[9:12])] += 1
            await asyncio.sleep(self._pause)
            if not self._keep_alive or b"\r\nconnection: close" in head:
                return
