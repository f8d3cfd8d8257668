"""One method on one problem, in a process of its own: `python -m benchmarks.accuracy.worker '{…}'`.

Writes the answers to `OUT.npy`, and then the CPU seconds of learning and predicting to `OUT.json`.
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

from benchmarks.accuracy.problem import load_problem


def work(job: dict[str, Any]) -> None:
    """Runs a job and writes the result.

    Args:
        job: `module` of `benchmarks.accuracy.methods`, its `settings`, the `problem` (the arguments of `load_problem`)
            and `out`, a path without its suffix.
    """
    problem = load_problem(Path(job["problem"].pop("path")), **job["problem"])
    predict = importlib.import_module(f"benchmarks.accuracy.methods.{job['module']}").predict
    begun, begun_wall = time.process_time(), time.monotonic()
    answers, notes = predict(problem, **job["settings"])
    cpu_seconds, wall_seconds = time.process_time() - begun, time.monotonic() - begun_wall
    rows, classes = len(problem.split.test), len(problem.labels)
    expected = (rows, classes) if classes else (rows,)
    if answers.shape != expected or not np.isfinite(answers).all():
        raise ValueError(f"answers must be finite and of shape {expected}, got {answers.shape}.")
    out = Path(job["out"])
    np.save(out.with_suffix(".npy"), answers.astype(np.float64))
    partial = out.with_suffix(".part")
    partial.write_text(json.dumps({"cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds, "notes": notes}))
    partial.replace(out.with_suffix(".json"))


if __name__ == "__main__":
    work(json.loads(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # some libraries wait at exit for threads that are not needed
