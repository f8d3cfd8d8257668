"""The runs: every method on every data set with every seed, each once and in its own process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.data_folder import Extracted, cache_folder
from benchmarks.accuracy.datasets import Dataset
from benchmarks.accuracy.environments import python_of, versions
from benchmarks.accuracy.problem import Problem, load_problem
from benchmarks.accuracy.roster import Method
from benchmarks.accuracy.scores import score
from benchmarks.peer import ROOT

# Parts of Axon that do not affect a network's answers.
_WITHOUT_BEARING = {"commands", "reporting", "search", "studies", "cli.py", "__main__.py", "progress.py", "report.py"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One method on one data set with one seed."""

    dataset: Dataset
    data: Extracted
    method: Method
    seed: int
    max_rows: int

    @property
    def called(self) -> str:
        """The run's name in messages."""
        return f"{self.dataset.name}, {self.method.name}, seed {self.seed}"

    @property
    def rows(self) -> int:
        """Number of rows of the table after the cut."""
        return min(self.data.rows, self.max_rows)

    @property
    def out(self) -> Path:
        """Path of the result without its suffix; the name contains a hash of all inputs of the run."""
        method = self.method
        depends = {
            "data": self.data.fingerprint,
            "rows": self.rows,
            "seed": self.seed,
            "module": method.module,
            "settings": dict(method.settings),
            "revision": method.revision,
            "split": [self.dataset.group, self.dataset.time],
            "versions": versions_of(method),
            "sources": axon_sources() if method.is_axon else None,
        }
        key = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]
        return cache_folder() / "results" / self.dataset.name / f"{method.name}-{self.seed}-{key}"

    def problem(self) -> Problem:
        """Returns the problem of the run."""
        return load_problem(self.data.path, **self._problem_arguments())

    def _problem_arguments(self) -> dict[str, Any]:
        dataset = self.dataset
        return {
            "name": dataset.name,
            "task": dataset.task,
            "target": dataset.target,
            "seed": self.seed,
            "max_rows": self.max_rows,
            "group": dataset.group,
            "time": dataset.time,
        }

    def execute(self) -> None:
        """Executes the run in a process of its own.

        Raises:
            RuntimeError: the process failed (with the end of its output), or Axon's sources changed meanwhile.
        """
        self.out.parent.mkdir(parents=True, exist_ok=True)
        job = {
            "module": self.method.module,
            "settings": dict(self.method.settings),
            "problem": {"path": str(self.data.path), **self._problem_arguments()},
            "out": str(self.out),
        }
        done = subprocess.run(
            [str(python_of(self.method.environment)), "-m", "benchmarks.accuracy.worker", json.dumps(job)],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(_THREADS, "1"), "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{self.called} failed:\n{done.stderr[-2000:]}")
        if self.method.is_axon and _sources_hash() != axon_sources():
            self.out.with_suffix(".json").unlink()
            raise RuntimeError(f"{self.called} is not kept: Axon's sources changed while it ran.")


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a run.

    Attributes:
        run: the run itself.
        scores: the measures of the task, on the test part.
        cpu_seconds: CPU time of learning, and of the answers to the test part.
        seconds_of_1000: CPU time of 1,000 answers.
    """

    run: Run
    scores: tuple[float, ...]
    cpu_seconds: float
    seconds_of_1000: float


def read(run: Run, truth: NDArray[Any]) -> Result | None:
    """Returns the result of a run, or None for a run without a result.

    Args:
        run: the run to look up.
        truth: `(test rows,)` class indices or values.
    """
    described = run.out.with_suffix(".json")
    if not described.exists():
        return None
    answers = np.load(run.out.with_suffix(".npy"), allow_pickle=False)
    figures = json.loads(described.read_text())
    return Result(
        run=run,
        scores=score(run.dataset.task, answers, truth),
        cpu_seconds=figures["cpu_seconds"],
        seconds_of_1000=figures["seconds_of_1000"],
    )


def execute_all(runs: Iterable[Run], *, jobs: int, fresh: bool) -> Iterator[tuple[Run, str | None]]:
    """Executes the runs that are not in the cache; yields each finished run, with an error message or None.

    Args:
        runs: the runs to execute.
        jobs: number of processes at a time.
        fresh: True to execute cached runs again.
    """
    wanted = [run for run in runs if fresh or not run.out.with_suffix(".json").exists()]
    print(f"{len(wanted)} run(s) to make", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run.execute): run for run in wanted}
        try:
            for future in as_completed(futures):
                error = future.exception()
                if error is not None and not isinstance(error, RuntimeError):
                    raise error
                yield futures[future], None if error is None else str(error)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@cache
def axon_sources() -> str:
    """Returns the SHA-256 of the sources that can affect a network's answers. It is computed once."""
    return _sources_hash()


def _sources_hash() -> str:
    sha = hashlib.sha256()
    for package in ("models", "training", "inference", "scoring"):
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            if _WITHOUT_BEARING.isdisjoint(relative.parts):
                sha.update(f"{relative}\0".encode() + path.read_bytes())
    return sha.hexdigest()


@cache
def _versions(environment: str | None, packages: tuple[str, ...]) -> dict[str, str]:
    return versions(environment, packages)


def versions_of(method: Method) -> dict[str, str]:
    """Returns the versions of the packages that a method's results depend on."""
    return _versions(method.environment, method.packages)
