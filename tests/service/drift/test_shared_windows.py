"""The windows of two API processes: after one process has ended a window, the other adds no rows to that window."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from watched_models import FEATURES, Watched, answers_to, normal

from models.distributions.window import Window
from service.drift.monitor import DriftMonitor
from service.drift.row_sample import TakenRows
from service.drift.version_drift import VersionDrift
from service.drift.window_files import WindowFiles
from service.settings import Settings


class Process:
    """One API process that takes rows of one version, over files that both processes share."""

    def __init__(self, watched: Watched, folder: Path, number: int) -> None:
        settings = Settings(api_processes=2, drift_window_rows=200, drift_window_seconds=0.01)
        text = zlib.compress(orjson.dumps(watched.distributions.to_dict()), 1)
        served: Any = SimpleNamespace(distributions=text, schema=watched.schema, width=FEATURES, key="a")
        self._monitor = DriftMonitor(settings, folder, number, SimpleNamespace())  # type: ignore[arg-type]
        self._files = WindowFiles(folder, number, 2)
        self._served = served

    async def start(self) -> None:
        await self._monitor.follow([self._served])
        drift = self._monitor.of(self._served)
        assert drift is not None
        self.drift: VersionDrift = drift
        drift.prepare()

    def take(self, rows: np.ndarray) -> None:
        self.drift.sample.pending.append(TakenRows(rows, answers_to(rows), {}))

    def windows(self) -> dict[int, int]:
        """Returns the number of rows of each window of both processes, and writes the own windows."""
        found = ended(self._monitor.windows(self.drift))
        self._files.write("a", [window.to_bytes() for window in self.drift.windows()])
        return {window.number: window.rows for window in found}


def ended(steps: Generator[None, None, list[Window]]) -> list[Window]:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            windows: list[Window] = stop.value
            return windows


@pytest.mark.slow
def test_an_ended_window_takes_no_more_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    watched = Watched.trained_on(normal(rng, 2_000), normal(rng, 500))

    async def one_after_the_other() -> None:
        first, second = (Process(watched, tmp_path, number) for number in range(2))
        for process in (first, second):
            await process.start()
        second.take(normal(rng, 150))
        assert second.windows() == {0: 150}
        time.sleep(0.01)  # so that the window is old enough to end
        first.take(normal(rng, 100))
        assert first.windows() == {0: 250}, "the first process ends the window of both"
        second.take(normal(rng, 30))
        assert second.windows() == {1: 30, 0: 250}
        assert first.windows() == {1: 30, 0: 250}

    asyncio.run(one_after_the_other())
