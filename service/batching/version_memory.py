"""The memory of an API process for model versions: columns, categories and architectures, within a limit of bytes.

Versions that a name means stay known, and their workers are not asked again. What leaves is what was read from the
header of the checkpoint: it is read again, from the copy that the workers keep, when a request asks for the version.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

from models.errors import CheckpointError, reason_of
from service.batching.served_version import ServedVersion
from service.errors import ModelUnavailable


class VersionMemory:
    """The limit of what an API process holds of its model versions.

    Args:
        limit_bytes: largest number of bytes of all versions.
        is_busy: function that returns True if requests for the version of a key wait or are out.
        copy_of: function that returns the path of the kept copy of a key's checkpoint.

    Attributes:
        evictions: number of times that a version left.
    """

    def __init__(self, limit_bytes: int, is_busy: Callable[[str], bool], copy_of: Callable[[str], Path]) -> None:
        self._limit_bytes = limit_bytes
        self._is_busy = is_busy
        self._copy_of = copy_of
        self._restoring: dict[ServedVersion, asyncio.Task[object]] = {}
        self.evictions = 0

    def add(self, served: ServedVersion) -> None:
        """Prepares a new version for `release` and `restore`."""
        served.copy = self._copy_of(served.key)

    def release(self, versions: Iterable[ServedVersion], spared: ServedVersion | None) -> None:
        """Releases the least recently used versions beyond the limit.

        Args:
            versions: versions of the process that may leave.
            spared: version that stays; None for none.
        """
        held = [served for served in versions if not served.is_released]
        surplus = sum(served.memory_bytes for served in held) - self._limit_bytes
        if surplus <= 0:
            return
        for served in sorted(held, key=lambda one: one.metrics.last_request):
            if (
                served is spared
                or served in self._restoring
                or self._is_busy(served.key)
                or not self._can_return(served)
            ):
                continue
            served.release()
            self.evictions += 1
            surplus -= served.memory_bytes
            if surplus <= 0:
                break

    async def restore(self, served: ServedVersion) -> None:
        """Reads a version again that was released; other requests go on meanwhile.

        Raises:
            ModelUnavailable: the copy is gone.
        """
        task = self._restoring.get(served)
        if task is None:
            task = self._restoring[served] = asyncio.create_task(asyncio.to_thread(served.restore))
            task.add_done_callback(lambda done: self._restored(served, done))
        try:
            await asyncio.shield(task)  # others may wait for it when this request's deadline passes
        except CheckpointError as error:
            raise ModelUnavailable(f"version {served} cannot be read again: {reason_of(error)}") from error

    def _restored(self, served: ServedVersion, done: asyncio.Task[object]) -> None:
        self._restoring.pop(served, None)
        if not done.cancelled():
            done.exception()  # taken here, since all who waited may have gone

    @staticmethod
    def _can_return(served: ServedVersion) -> bool:
        return served.copy is not None and served.copy.exists()
