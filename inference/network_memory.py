"""The networks in memory on one device: bounded, least recently used networks leave first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """A network with a size in memory."""

    @property
    def memory_bytes(self) -> int:
        """Number of bytes of the network's tensors and plans."""


N = TypeVar("N", bound=Sized)


class NetworkMemory(Generic[N]):
    """Networks by key, bounded by their number and by their bytes. All methods may be called from any thread.

    A pinned network has batches that wait, and never leaves. A network that could not be read again does not leave
    either. Both may make the memory exceed its limits.

    Args:
        capacity: largest number of networks.
        limit_bytes: largest number of bytes of all networks; None for no limit.
        can_return: function that returns True if the network of a key can be read again.

    Attributes:
        loads: number of networks that have come so far.
        evictions: number of networks that have left so far to make room for others.
        revision: number that rises whenever a network comes or leaves.
    """

    def __init__(self, *, capacity: int, limit_bytes: int | None, can_return: Callable[[str], bool]) -> None:
        self._capacity = capacity
        self._limit_bytes = limit_bytes
        self._can_return = can_return
        self._lock = Lock()  # held for look-ups only, never while a network is read or runs
        self._networks: OrderedDict[str, N] = OrderedDict()  # the least recently used first
        self._pinned: dict[str, int] = {}  # number of pins by key
        self.loads = self.evictions = self.revision = 0

    @property
    def limit_bytes(self) -> int | None:
        """Largest number of bytes of all networks; None for no limit."""
        return self._limit_bytes

    def __len__(self) -> int:
        return len(self._networks)

    def __contains__(self, key: str) -> bool:
        return key in self._networks

    def get(self, key: str) -> N | None:
        """Returns the network of a key, from now on the most recently used one; None if there is no such network."""
        with self._lock:
            network = self._networks.get(key)
            if network is not None:
                self._networks.move_to_end(key)
            return network

    def pin(self, key: str) -> bool:
        """Pins a network in memory; returns False if there is no such network."""
        with self._lock:
            if key not in self._networks:
                return False
            self._pinned[key] = self._pinned.get(key, 0) + 1
            return True

    def unpin(self, key: str) -> None:
        """Takes one pin away; does nothing for a network without pins."""
        with self._lock:
            pins = self._pinned.get(key, 0)
            if pins > 1:
                self._pinned[key] = pins - 1
            else:
                self._pinned.pop(key, None)

    def add(self, key: str, network: N) -> None:
        """Adds a network as the most recently used one, and drops others beyond the limits."""
        with self._lock:
            self._networks[key] = network
            self.loads += 1
            self.revision += 1
        self._drop(0, spared=key)

    def fits(self, size: int) -> bool:
        """Returns True if a network of `size` bytes fits beside the present ones."""
        with self._lock:
            return not self._is_over(len(self._networks) + 1, self._bytes() + size)

    def make_room(self, size: int) -> list[str]:
        """Drops networks until one of `size` bytes fits. Drops none for one that is larger than the limit.

        Returns:
            Keys of the pinned networks that have to leave too, the least recently used first.
        """
        if self._limit_bytes is not None and size > self._limit_bytes:
            return []
        self._drop(size, more=1)
        found: list[str] = []
        with self._lock:
            count, total = len(self._networks) + 1, self._bytes() + size
            for key, network in self._networks.items():
                if not self._is_over(count, total):
                    break
                if key in self._pinned and self._can_return(key):
                    found.append(key)
                    count, total = count - 1, total - network.memory_bytes
        return found

    def drop_unpinned(self) -> bool:
        """Drops all networks that are not pinned; returns True if there were any."""
        with self._lock:
            dropped = [self._networks.pop(key) for key in list(self._networks) if self._may_leave(key)]
            self._count(len(dropped))
        return bool(dropped)

    def trim(self) -> None:
        """Drops networks beyond the limits, since plans for new row counts make networks larger."""
        if self._limit_bytes is not None:
            self._drop(0)

    def networks(self) -> list[N]:
        """Returns the networks in memory."""
        with self._lock:
            return list(self._networks.values())

    def keys(self) -> list[str]:
        """Returns the keys of the networks in memory, the least recently used first."""
        with self._lock:
            return list(self._networks)

    @property
    def total_bytes(self) -> int:
        """Number of bytes of all networks."""
        return sum(network.memory_bytes for network in self.networks())

    def _drop(self, size: int, *, more: int = 0, spared: str | None = None) -> None:
        """Drops the least recently used networks until `more` networks with `size` bytes together fit."""
        dropped: list[N] = []  # keeps networks alive until the lock is released: freeing their memory takes a while
        with self._lock:
            count, total = len(self._networks) + more, self._bytes() + size
            for key in list(self._networks) if self._is_over(count, total) else ():
                if key != spared and self._may_leave(key):
                    dropped.append(self._networks.pop(key))
                    count, total = count - 1, total - dropped[-1].memory_bytes
                    if not self._is_over(count, total):
                        break
            self._count(len(dropped))

    def _is_over(self, count: int, total: int) -> bool:
        """Returns True if `count` networks with `total` bytes together exceed the limits."""
        return count > self._capacity or (self._limit_bytes is not None and total > self._limit_bytes)

    def _bytes(self) -> int:
        """Returns the bytes of all networks; 0 without a limit, where nobody needs the number."""
        return 0 if self._limit_bytes is None else sum(network.memory_bytes for network in self._networks.values())

    def _may_leave(self, key: str) -> bool:
        return key not in self._pinned and self._can_return(key)

    def _count(self, dropped: int) -> None:
        self.evictions += dropped
        self.revision += dropped
