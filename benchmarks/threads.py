"""The time of a training run by number of threads, on an idle machine and beside other work.

    python -m benchmarks.threads [--rows 2000] [--epochs 20]

Each run is a process of its own, because torch's threads outlive their use. docs/decisions/0036 is based on it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys

NETWORKS = ("64,64", "256,256,256", "512,512,512", "1024,1024")

_RUN = """
import json, resource, sys, time
import numpy as np, pandas as pd
from training.fit import fit
hidden, threads, rows, epochs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(0)
frame = pd.DataFrame({f"x{i}": rng.normal(size=rows) for i in range(10)})
frame["y"] = frame.sum(axis=1) + rng.normal(size=rows)
settings = {"target": "y", "hidden_sizes": tuple(map(int, hidden.split(","))), "device": "cpu"}
fit(frame, epochs=1, threads=1, **settings)  # imports what there is to import
begin, cpu = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_utime
model = fit(frame, epochs=epochs, threads=int(threads) if threads != "rule" else None, **settings)
used = resource.getrusage(resource.RUSAGE_SELF).ru_utime - cpu
print(json.dumps({"seconds": time.perf_counter() - begin, "cpu": used, "threads": model.threads.number}))
"""


def main() -> None:
    """Trains each network with each number of threads, idle and busy, and prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    numbers = [str(number) for number in (1, 2, 4, 8, 16) if number <= len(cpus)] + ["rule"]
    print(f"{len(cpus)} CPUs\n{'hidden':<14}{'other work':<12}{'threads':>8}{'seconds':>9}{'CPU s':>8}")
    for hidden in NETWORKS:
        for busy in (0, len(cpus)):
            for number in numbers:
                seen = _timed(hidden, number, arguments, busy=cpus[:busy])
                shown = number if number != "rule" else f"rule: {seen['threads']}"
                print(f"{hidden:<14}{busy:<12}{shown:>8}{seen['seconds']:>9.2f}{seen['cpu']:>8.2f}", flush=True)


def _timed(hidden: str, number: str, arguments: argparse.Namespace, *, busy: list[int]) -> dict[str, float]:
    spinning = [multiprocessing.Process(target=_spin, args=(cpu,), daemon=True) for cpu in busy]
    for process in spinning:
        process.start()
    try:
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        command = [sys.executable, "-c", _RUN, hidden, number, str(arguments.rows), str(arguments.epochs)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        seen: dict[str, float] = json.loads(ran.stdout)
        return seen
    finally:
        for process in spinning:
            process.kill()
            process.join()


def _spin(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    while True:
        pass


if __name__ == "__main__":
    main()
