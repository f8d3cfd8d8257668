"""The longest hold of an event loop."""

from __future__ import annotations

import asyncio
import time

import pytest

from service.loop_watch import LoopWatch


def longest_of(holds: list[float]) -> float:
    """Returns the watch's maximum after callbacks of the given lengths in seconds."""

    async def run() -> float:
        watch = LoopWatch(asyncio.get_running_loop(), lambda: True)
        await asyncio.sleep(0.15)  # past the first reading, which is an idle one
        for seconds in holds:
            asyncio.get_running_loop().call_soon(time.sleep, seconds)
            await asyncio.sleep(0.02)
        watch.close()
        return watch.longest_seconds

    return asyncio.run(run())


@pytest.mark.slow
def test_the_longest_hold_is_told() -> None:
    assert longest_of([0.02, 0.3, 0.02]) >= 0.29
