"""A thread that reads the store. A disk that does not answer blocks this thread, but not the end of the process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

_T = TypeVar("_T")
_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class StoreReader:
    """Runs calls one after the other in a daemon thread, which starts with the first call."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, call: Callable[[], _T]) -> _T:
        """Runs a call in the thread, and returns its result or raises its error."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_T] = loop.create_future()
        if self._thread is None:
            # A daemon thread, unlike those of an executor, which are joined when the interpreter ends.
            self._thread = threading.Thread(target=self._work, name="store-reader", daemon=True)
            self._thread.start()
        self._jobs.put((loop, done, call))
        return await done

    def _work(self) -> None:
        while True:
            loop, done, call = self._jobs.get()
            try:
                result, error = call(), None
            except Exception as raised:
                result, error = None, raised
            try:
                loop.call_soon_threadsafe(_finish, done, result, error)
            except RuntimeError:  # the loop is closed: no caller waits any more
                continue


def _finish(done: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if done.done():  # cancelled meanwhile
        return
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
