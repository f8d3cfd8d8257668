"""The monitor of drift in an API process: counts sampled rows in short steps, and closes windows.

Each API process counts the rows that it answers. With several processes, each writes its windows to a file, and adds
those of the others when it is asked. They agree on the number of the window: whoever finds a window complete begins the
next, and the others follow when they see its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path

from models.distributions.evaluation import LEAST_ROWS, Evaluation, evaluate
from models.distributions.window import Window
from service.batching.batcher import Batcher
from service.batching.served_version import ServedVersion
from service.drift.row_sample import RowSample, SampleBudget
from service.drift.version_drift import VersionDrift, is_due
from service.drift.window_files import WindowFiles
from service.logs import LimitedLog, get_logger
from service.settings import Settings
from service.time_slices import TimeSlices, in_slices

_ROUND_SECONDS = 0.5  # after the first taken row, until taken rows are counted
_VERSIONS_A_ROUND = 20  # versions of a round that is followed by the next after this time
_SLICE_SECONDS = 100e-6
_PAUSE_SECONDS = 1e-3  # so that predictions get most of the time

log = LimitedLog(get_logger(__name__))


class DriftMonitor:
    """The drift of all model versions that an API process serves.

    Args:
        settings: settings of the server.
        folder: folder for the windows that API processes share.
        number: position of this process among them.
        batcher: batcher of the process, whose batches are sampled.
    """

    def __init__(self, settings: Settings, folder: Path, number: int, batcher: Batcher) -> None:
        self._is_on = settings.drift
        self._full_rows = settings.drift_window_rows
        self._seconds = settings.drift_window_seconds
        self._files = WindowFiles(folder, number, settings.api_processes)
        self._batcher = batcher
        self._budget = SampleBudget(settings.drift_rows_per_second)
        self._versions: dict[str, VersionDrift] = {}
        self._dirty: dict[str, VersionDrift] = {}  # versions with rows that were taken since the last round
        self._timer: asyncio.TimerHandle | None = None
        self._round: asyncio.Task[None] | None = None

    @property
    def is_on(self) -> bool:
        """True unless drift is switched off."""
        return self._is_on

    @property
    def versions(self) -> Iterable[VersionDrift]:
        """Drift of each version that has distributions."""
        return self._versions.values()

    async def follow(self, ready: Iterable[ServedVersion]) -> None:
        """Begins to sample new versions, and forgets those that have ended.

        Args:
            ready: all versions that are ready.
        """
        if not self._is_on:
            return
        before, versions = self._versions, {}
        async for served in in_slices(ready):
            if served.distributions is None:
                continue
            known = before.get(served.key)
            if known is None:
                sample = RowSample(served.width, self._budget, partial(self._mark, served.key))
                known = VersionDrift(served, sample)
            versions[served.key] = known
        self._versions = versions
        self._batcher.samples = {key: drift.sample for key, drift in versions.items()}
        for key in before.keys() - versions.keys():
            self._dirty.pop(key, None)
            self._files.remove(key)

    def of(self, served: ServedVersion) -> VersionDrift | None:
        """Returns the drift of a version, None without distributions or before the next look at the store."""
        return self._versions.get(served.key)

    async def stop(self) -> None:
        """Ends the counting."""
        if self._timer is not None:
            self._timer.cancel()
        if self._round is not None:
            self._round.cancel()
            await asyncio.gather(self._round, return_exceptions=True)

    async def prepare(self, drift: VersionDrift) -> bool:
        """Prepares a version for `windows`, in a thread; returns False if no process has rows of the version."""
        if drift.is_idle and not self._files.exist(drift.served.key):
            return False
        if not drift.is_prepared:
            await asyncio.to_thread(drift.prepare)
        return True

    def windows(self, drift: VersionDrift) -> Generator[None, None, list[Window]]:
        """Counts what was taken, in short steps, and returns the windows of all processes together.

        A version that is not prepared has no windows, and is prepared soon.

        Returns:
            The window that grows, and the complete one before it; each only if it has rows.
        """
        if not drift.is_prepared:
            if not drift.is_idle or self._files.exist(drift.served.key):
                self._mark(drift.served.key)
            return []
        others = yield from self._settle(drift)
        sums: dict[int, Window] = {}
        for window in (*drift.windows(), *others):
            yield
            if window.number not in sums:
                sums[window.number] = Window(window.number, len(window.counts))
            sums[window.number].merge(window)
        newest = drift.number
        return [sums[number] for number in (newest, newest - 1) if number in sums and sums[number].rows]

    def _settle(self, drift: VersionDrift) -> Generator[None, None, list[Window]]:
        """Counts the sampled rows in short steps and ends a complete window; returns the windows of other processes."""
        others = self._files.read(drift.served.key, drift.counter.slots)
        # The other processes come first: a window that one of them has ended must not take the sampled rows.
        self._follow(drift, others)
        yield from drift.count_pending()
        self._end_if_due(drift, others)
        return others

    def evaluation(self, drift: VersionDrift, window: Window) -> Generator[None, None, Evaluation]:
        """Evaluates a window in short steps."""
        return evaluate(drift.counter, drift.distributions, window)

    def is_complete(self, drift: VersionDrift, window: Window) -> bool:
        """Returns True if a window no longer grows."""
        return window.number < drift.number

    def _follow(self, drift: VersionDrift, others: list[Window]) -> None:
        """Begins the newest window that another process has begun."""
        newest = max((window.number for window in others), default=0)
        if newest > drift.number:
            drift.roll(newest)

    def _end_if_due(self, drift: VersionDrift, others: list[Window]) -> None:
        """Begins the next window if the current one is complete."""
        same = [window for window in others if window.number == drift.number and window.rows]
        rows = sum(window.rows for window in same)
        mine = drift.current
        oldest = min([*same, *([] if mine is None else [mine])], key=lambda window: window.began, default=None)
        if oldest is not None and is_due(
            oldest,
            rows + (0 if mine is None else mine.rows),
            least_rows=LEAST_ROWS,
            full_rows=self._full_rows,
            seconds=self._seconds,
        ):
            drift.roll(drift.number + 1)
            self._mark(drift.served.key)  # so that the other processes learn of it

    def _mark(self, key: str) -> None:
        """Records that rows of a version were taken."""
        if key not in self._dirty and key in self._versions:
            self._dirty[key] = self._versions[key]
            if self._timer is None and (self._round is None or self._round.done()):
                self._timer = asyncio.get_running_loop().call_later(_ROUND_SECONDS, self._begin_round)

    def _begin_round(self) -> None:
        self._timer = None
        self._round = asyncio.create_task(self._count(), name="drift")

    async def _count(self) -> None:
        """Counts what was taken, version by version."""
        dirty, self._dirty = self._dirty, {}
        self._budget.versions = max(1, len(dirty))
        slices = TimeSlices(_SLICE_SECONDS, _PAUSE_SECONDS)
        for key, drift in dirty.items():
            try:
                if not await self.prepare(drift):
                    continue
                for _ in self._settle(drift):
                    await slices.pause()
                if self._files.has_others and key in self._versions:
                    windows = [window.to_bytes() for window in drift.windows()]
                    await asyncio.to_thread(self._files.write, key, windows)
            except Exception as error:
                log.error("drift was not measured", model=str(drift.served), reason=repr(error))
                drift.sample.pending.clear()
                drift.sample.pending_cells = 0
        if self._dirty and self._timer is None:
            # Rounds for hundreds of versions are rarer, since each version costs something in each round.
            seconds = _ROUND_SECONDS * max(1.0, len(dirty) / _VERSIONS_A_ROUND)
            self._timer = asyncio.get_running_loop().call_later(seconds, self._begin_round)
