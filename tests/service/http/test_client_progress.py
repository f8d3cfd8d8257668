"""Clients that read their answers slowly: a client that reads too little is disconnected, and no other client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from echo_service import Service, post, wait_until

from service.http.client_progress import LEAST_SHARE, ClientProgress
from service.http.connection_watch import ConnectionWatch, HttpLimits

IDLE_SECONDS = 10
MIB = 1 << 20
ANSWER_BYTES = 20_000_000
MOST_BYTES = 1_000_000


class Unread:
    """A transport with a given number of buffered bytes, over a socket with an empty buffer."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self.size = 0

    def get_write_buffer_size(self) -> int:
        return self.size

    def get_extra_info(self, _: str) -> socket.socket:
        return self._stream


@pytest.fixture
def unread() -> Iterator[Unread]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Unread(ours)


def make_progress(unread: Unread) -> tuple[ClientProgress, ConnectionWatch]:
    limits: dict[str, Any] = dict.fromkeys(HttpLimits.__dataclass_fields__, 1)
    watch = ConnectionWatch(HttpLimits(**{**limits, "idle_seconds": IDLE_SECONDS}))
    progress = ClientProgress(cast(asyncio.Transport, unread), watch)
    return progress, watch


def seconds_until_let_go(unread: Unread, size: int, bytes_a_second: int) -> int | None:
    """Returns the seconds until a client that reads at a given rate is disconnected; None if everything was read."""
    progress, watch = make_progress(unread)
    unread.size = size
    progress.begin_unread()
    begin = watch.now
    while unread.size:
        if not progress.reads():
            return round(watch.now - begin)
        unread.size = max(0, unread.size - bytes_a_second)
        watch.now += 1
    return None


@pytest.mark.parametrize("size", [100_000, 50 * MIB, 1 << 31])
def test_who_reads_a_share_in_each_idle_time_gets_it_all(unread: Unread, size: int) -> None:
    enough = size // LEAST_SHARE // IDLE_SECONDS + 1
    assert seconds_until_let_go(unread, size, enough) is None
    assert seconds_until_let_go(unread, size, size) is None


@pytest.mark.parametrize("size", [100_000, 50 * MIB, 1 << 31])
@pytest.mark.parametrize("share", [2, 10, 10_000_000])
def test_who_reads_less_is_let_go_after_one_idle_time(unread: Unread, size: int, share: int) -> None:
    too_little = size // LEAST_SHARE // IDLE_SECONDS // share
    assert seconds_until_let_go(unread, size, too_little) == IDLE_SECONDS + 1


def test_who_slows_down_is_let_go_before_all_shares_are_over(unread: Unread) -> None:
    progress, watch = make_progress(unread)
    size = unread.size = 50 * MIB
    progress.begin_unread()
    seconds = 0
    while progress.reads() and seconds < 10_000:  # the least share at the last moment, then bytes
        seconds += 1
        watch.now += 1
        unread.size -= size // LEAST_SHARE if seconds % IDLE_SECONDS == 0 and unread.size > size // 4 else 1
    assert seconds <= LEAST_SHARE * (IDLE_SECONDS + 1)
    assert unread.size > 0


def test_a_client_that_reads_a_little_now_and_then_is_let_go(make_service: Callable[..., Service]) -> None:
    service = make_service(idle_seconds=0.2)
    service.app.echo.repeats = 20
    ended = threading.Event()
    received = 0
    with contextlib.closing(socket.socket()) as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.settimeout(20)
        stream.connect(("127.0.0.1", service.port))
        stream.sendall(post(b"x" * (ANSWER_BYTES // 20)))
        wait_until(lambda: service.app.echo.begun == 1)
        with contextlib.suppress(ConnectionError):
            while service.server.server_state.connections and received < MOST_BYTES:
                received += len(stream.recv(2048))
                ended.wait(0.01)
        wait_until(lambda: not service.server.server_state.connections)
    assert 0 < received < MOST_BYTES
