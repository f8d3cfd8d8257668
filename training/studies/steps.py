"""Steps of a study: the outermost loop, which reports its progress to a listener."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")
# Takes the number of steps done and their number in all.
OnStep = Callable[[int, int], None]

_listener: ContextVar[OnStep | None] = ContextVar("listener", default=None)


@contextmanager
def following(on_step: OnStep) -> Iterator[None]:
    """Reports the steps of a study to a listener, inside the `with` block.

    Args:
        on_step: callback with the number of steps done and of all steps, before each step and after the last.
    """
    token = _listener.set(on_step)
    try:
        yield
    finally:
        _listener.reset(token)


def steps(items: Iterable[T]) -> Iterator[T]:
    """Yields the items of a study's outermost loop, and reports the progress to the listener.

    A run stays a function of its arguments: the reports do not change the result.
    """
    every = list(items)
    report = _listener.get()
    for done, item in enumerate(every):
        if report is not None:
            report(done, len(every))
        yield item
    if report is not None and every:
        report(len(every), len(every))
