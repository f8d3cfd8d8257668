"""One method on one problem, in a process of its own: `python -m benchmarks.accuracy.worker '{…}'`.

Writes the answers to `OUT.npy`, and then the CPU seconds of learning, and those of 1,000 answers, to `OUT.json`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.problem import Learned, Problem, load_problem


def work(job: dict[str, Any]) -> None:
    """Runs a job and writes the result.

    Args:
        job: `module` of `benchmarks.accuracy.methods`, its `settings`, the `problem` (the arguments of `load_problem`)
            and `out`, a path without its suffix.
    """
    problem = load_problem(Path(job["problem"].pop("path")), **job["problem"])
    learn = importlib.import_module(f"benchmarks.accuracy.methods.{job['module']}").learn
    begun, begun_wall = time.process_time(), time.monotonic()
    learned: Learned = learn(problem, **job["settings"])
    cpu_seconds, wall_seconds = time.process_time() - begun, time.monotonic() - begun_wall
    answers = np.asarray(learned.answers)
    figures = {
        "cpu_seconds": cpu_seconds,
        "wall_seconds": wall_seconds,
        "seconds_of_1000": _seconds_of_1000(learned, problem),
        "notes": learned.notes,
    }
    rows, classes = len(problem.split.test), len(problem.labels)
    expected = (rows, classes) if classes else (rows,)
    if answers.shape != expected or not np.isfinite(answers).all():
        raise ValueError(f"answers must be finite and of shape {expected}, got {answers.shape}.")
    out = Path(job["out"])
    np.save(out.with_suffix(".npy"), answers.astype(np.float64))
    partial = out.with_suffix(".part")
    partial.write_text(json.dumps(figures))
    partial.replace(out.with_suffix(".json"))


def _seconds_of_1000(learned: Learned, problem: Problem) -> float:
    """Returns the least CPU seconds of three times 1,000 answers, to rows of the test part drawn with replacement."""
    rows = np.random.default_rng(0).choice(problem.split.test, 1_000)
    seconds = []
    for _ in range(3):
        begun = time.process_time()
        learned.predict(rows)
        seconds.append(time.process_time() - begun)
    return min(seconds)


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # some libraries wait at exit for threads that are not needed
