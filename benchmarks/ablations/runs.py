"""The runs of the ablations, in processes of one thread each."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import torch

from benchmarks.ablations.parts import METHODS, PARTS
from benchmarks.ablations.tables import set_up_packages

Run = tuple[str, str, int]  # method, table and seed


def figures_of(runs: Sequence[Run], *, jobs: int) -> dict[Run, tuple[str, float]]:
    """Trains and evaluates; reports each run on standard error.

    Args:
        runs: method, table and seed of each run.
        jobs: number of runs at a time.

    Returns:
        The name and the value of the figure of each run.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting = {pool.submit(_figure, *run): run for run in runs}
        found = {}
        for done, future in enumerate(as_completed(waiting), start=1):
            run = waiting[future]
            found[run] = future.result()
            print(f"{done} of {len(runs)}: {run}: {found[run]}", file=sys.stderr, flush=True)
    return found


def _begin() -> None:
    set_up_packages()
    torch.set_num_threads(1)


def _figure(method: str, name: str, seed: int) -> tuple[str, float]:
    table = next(part.tables[name] for part in PARTS.values() if name in part.tables)
    metrics = METHODS[method](table.sample(), table.target, seed)
    figure = "log_loss" if "log_loss" in metrics else "rmse"
    return figure, float(metrics[figure])
