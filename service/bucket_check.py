"""The check of a store in a bucket before the start, in a process of its own.

The main process forks the other processes, and the client of a bucket has threads, which do not survive a fork.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from models.errors import AxonError, BucketError, StoreError
from models.open_store import open_store
from service.stop_signals import PipeEvent

_MOST_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class BucketState:
    """The state of a bucket before the start.

    Attributes:
        names: names of the models; None if the bucket does not answer.
        problem: reason why the bucket does not answer; None if it does.
        fault: reason why the server cannot start with this bucket; None if it can.
        default_fault: reason why there is no default model; None if there is one, or none is asked for.
    """

    names: list[str] | None = None
    problem: str | None = None
    fault: str | None = None
    default_fault: str | None = None


def check_bucket(
    url: str, cache: Path | None, cache_bytes: int, default_model: str | None, stop: PipeEvent | None = None
) -> BucketState:
    """Reads a store in a bucket once.

    Args:
        url: URL of the store.
        cache: folder for what is brought from the bucket; None for the default.
        cache_bytes: largest number of bytes of the checkpoints in the folder.
        default_model: reference to look up; None for none.
        stop: event that ends the wait for the bucket; None for none.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=_check, args=(theirs, url, cache, cache_bytes, default_model), daemon=True)
    child.start()
    theirs.close()
    try:
        wait([ours] if stop is None else [ours, stop.fileno()], _MOST_SECONDS)
        if stop is not None and stop.is_set():
            return BucketState(problem="the server was stopped while the bucket was asked.")
        if ours.poll():
            state = ours.recv()
            if isinstance(state, BucketState):
                return state
        return BucketState(problem=f"the bucket did not answer within {_MOST_SECONDS:g} s.")
    except EOFError:
        return BucketState(problem="the check of the bucket died.")
    finally:
        child.kill()
        child.join()
        ours.close()


def _check(results: Connection, url: str, cache: Path | None, cache_bytes: int, default_model: str | None) -> None:
    try:
        store = open_store(url, cache=cache, cache_bytes=cache_bytes)
        names = store.names()
    except BucketError as error:
        results.send(BucketState(problem=str(error)))
        return
    except StoreError as error:
        results.send(BucketState(fault=str(error)))
        return
    default_fault = None
    if default_model is not None:
        try:
            store.resolve(default_model)
        except AxonError as error:
            default_fault = str(error)
    results.send(BucketState(names=names, default_fault=default_fault))
