"""Batches of model versions that are not in the worker's memory, and the thread that loads these versions.

One version is loaded at a time, in the order in which the versions were asked for, so that no version waits for ever
and loading leaves the processor to predictions. Meanwhile the worker runs the batches of other versions. If all
networks in memory have batches that wait, the least recently used ones take no new batches: these get in line, and
the network leaves once its earlier batches are done.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")


class Residency(Protocol):
    """The worker's memory of networks."""

    def pin(self, key: str) -> bool:
        """Keeps the network of a key in memory until `unpin`; returns False if the network is not in memory."""

    def make_room(self, key: str) -> list[str]:
        """Drops unpinned networks so that the network of a key fits; returns the pinned ones that have to leave too."""


@dataclass(frozen=True)
class Fetched(Generic[Item]):
    """A version whose load has ended.

    Attributes:
        key: key of the version.
        items: batches that waited.
        refusal: payload of a REFUSED frame; None if the version is in memory, pinned.
    """

    key: str
    items: deque[Item]
    refusal: bytes | None


class ColdBatches(Generic[Item]):
    """The batches that wait for a version to be loaded, by key. Used by the main thread only.

    Args:
        memory: memory of networks.
        fetch: function that loads and pins a version; returns the payload of a REFUSED frame, or None if all went
            well. Runs in a thread.
        notify: function called, in any thread, when a load has ended, so that the main thread calls `take_fetched`.
        deadline_of: function that returns the deadline of a batch on the monotonic clock, in seconds.

    Attributes:
        closing: keys in memory that take no new batches, so that their networks can leave.
    """

    def __init__(
        self,
        memory: Residency,
        fetch: Callable[[str], bytes | None],
        notify: Callable[[], None],
        deadline_of: Callable[[Item], float],
    ) -> None:
        self._memory = memory
        self._fetch = fetch
        self._notify = notify
        self._deadline_of = deadline_of
        self._items: dict[str, deque[Item]] = {}
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="fetcher")
        self._loading: tuple[str, Future[bytes | None]] | None = None
        self.closing: frozenset[str] = frozenset()

    def __contains__(self, key: str) -> bool:
        return key in self._items

    def __bool__(self) -> bool:
        # A load goes on when nobody waits for it any more, and its end has to be taken, which lets the network leave.
        return bool(self._items) or self._loading is not None

    def add(self, key: str, item: Item) -> None:
        """Puts a batch in line; `start_next` has to follow."""
        self._items.setdefault(key, deque()).append(item)

    def start_next(self) -> list[Fetched[Item]]:
        """Starts to load the next version, unless a load is under way or there is no room yet.

        Returns:
            Versions that need no load: another request has loaded them, or the deadlines of all batches have passed.
        """
        ready: list[Fetched[Item]] = []
        while self._items and self._loading is None:
            key = next(iter(self._items))
            if self._memory.pin(key) or self._has_expired(key):
                ready.append(Fetched(key, self._items.pop(key), None))
                continue
            if crowding := self._memory.make_room(key):
                # Those that were chosen before stay chosen, so that each of them comes to its end.
                self.closing = self.closing.union(crowding)
                break
            self.closing = frozenset()
            future = self._loader.submit(self._fetch, key)
            self._loading = key, future
            future.add_done_callback(lambda _: self._notify())
        if not self._items:
            self.closing = frozenset()
        return ready

    def take_fetched(self) -> Fetched[Item] | None:
        """Returns the version whose load has ended, or None."""
        if self._loading is None or not self._loading[1].done():
            return None
        key, future = self._loading
        self._loading = None
        return Fetched(key, self._items.pop(key, deque()), future.result())

    def remove(self, is_unwanted: Callable[[Item], bool]) -> None:
        """Removes batches that nobody waits for any more."""
        for key, items in list(self._items.items()):
            kept = deque(item for item in items if not is_unwanted(item))
            if kept:
                self._items[key] = kept
            else:
                del self._items[key]

    def close(self) -> None:
        """Ends the thread."""
        self._loader.shutdown(wait=False)

    def _has_expired(self, key: str) -> bool:
        now = time.monotonic()
        return all(self._deadline_of(item) < now for item in self._items[key])
