"""Keeps an event loop awake for a moment when a lone client asks again and again.

A loop without work sleeps until a socket is ready, and to wake up takes a processor some 50 µs, above all in a virtual
machine. For one client at a time this happens twice for each request, and takes longer than the rest. So the loop polls
its sockets for a moment instead, as the worker does (docs/decisions/0011), and between two polls it yields to other
processes on its core.
"""

from __future__ import annotations

import asyncio
import os
import time

_AWAKE_SECONDS = 300e-6
_LONE_REQUESTS = 4  # among a few clients, some requests are alone by chance


class Wakefulness:
    """Keeps an event loop awake from a lone request to the answer, and from there to the next request.

    It does so only after `_LONE_REQUESTS` requests that followed the answer before within `_AWAKE_SECONDS`, and for no
    longer than that. A request that comes later halves the number; several at a time set it to 0.

    Args:
        loop: event loop to keep awake.

    Attributes:
        idle_seconds: time of all turns in which the loop was awake and found nothing to do.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._next_until = 0.0  # a request up to this time follows its predecessor closely
        self._close_requests = 0
        self._awake_until = 0.0
        self._is_awake = False
        self._polled_at = 0.0  # 0 if a request has come or gone since the last poll
        self.idle_seconds = 0.0

    def request_sent(self) -> None:
        """Records that the only request of the process has gone to a worker."""
        now = time.perf_counter()
        self._polled_at = 0.0
        self._close_requests = self._close_requests + 1 if now < self._next_until else self._close_requests // 2
        if self._close_requests >= _LONE_REQUESTS:
            self._awake_until = now + _AWAKE_SECONDS
            if not self._is_awake:
                self._is_awake = True
                self._loop.call_soon(self._poll)

    def others_came(self) -> None:
        """Records that several requests are in hand, so that no client is alone."""
        self._close_requests = 0
        self._awake_until = 0.0

    def request_answered(self) -> None:
        """Records that the only request of the process is answered."""
        self._next_until = time.perf_counter() + _AWAKE_SECONDS
        self._polled_at = 0.0
        if self._is_awake:
            self._awake_until = self._next_until

    def _poll(self) -> None:
        """Has the loop look at its sockets again without sleeping."""
        now = time.perf_counter()
        if self._polled_at:
            self.idle_seconds += now - self._polled_at
        if now < self._awake_until:
            os.sched_yield()
            self._polled_at = time.perf_counter()
            self.idle_seconds += self._polled_at - now
            self._loop.call_soon(self._poll)
        else:
            self._polled_at = 0.0
            self._is_awake = False
