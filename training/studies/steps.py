"""Steps of a study: the loop that takes its time, told to whoever shows how far the study is."""

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
    """Within it, steps of a study are told to a listener.

    Args:
        on_step: told of the steps done and of their number in all, before each step and after the last.
    """
    token = _listener.set(on_step)
    try:
        yield
    finally:
        _listener.reset(token)


def steps(items: Iterable[T]) -> Iterator[T]:
    """Yields the items of a study's outermost loop, and tells the listener how far it is.

    A run stays a function of its arguments: what is told changes nothing of the result.
    """
    every = list(items)
    tell = _listener.get()
    for done, item in enumerate(every):
        if tell is not None:
            tell(done, len(every))
        yield item
    if tell is not None and every:
        tell(len(every), len(every))
