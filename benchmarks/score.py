"""Bulk scoring beside the bare reading of the same columns: rows a second of CPU time, and the memory.

`make bench-score` makes a Parquet file of float32 columns and a model 30-128-64-2, then measures in turn, each in a
process of its own with one thread: pyarrow reads the model's columns; Axon scores the file. The CPU time of the start
(imports, the model) is measured on a file of few rows and taken off, and is shown. A server answers rows of the same
file over `POST /predict`; the client's CPU time does not count. Ray Data answers the file with the same network in
torch and one actor (`benchmarks/ray_torch.py`); the CPU time of all its processes counts. `make interop` makes the
environment for it.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Set
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet

from benchmarks.model import LAYER_SIZES
from benchmarks.process import free_port
from models.checkpoint import Checkpoint
from models.columns.column import NumericColumn
from models.columns.schema import ClassTarget, Schema
from models.network.config import MLPConfig
from models.network.mlp import MLP
from models.store import Store

ROOT = Path(__file__).parents[1]
_FEW = 1_000  # rows of the file on which the start is measured
_REQUESTS = {1: 2_000, _FEW: 400}  # number of requests, by the rows of each
_GROUP = 250_000
_RAY = "Ray Data, torch, one actor"
_READ = """
import sys, pyarrow.parquet
columns = [f"x{i}" for i in range(30)]
with pyarrow.parquet.ParquetFile(sys.argv[1], pre_buffer=False, buffer_size=1 << 20) as file:
    for batch in file.iter_batches(batch_size=1 << 14, columns=columns, use_threads=False):
        pass
"""


def make_store(folder: Path) -> None:
    """Publishes a classifier 30-128-64-2 as `tab`, and saves its weights as those of an `nn.Sequential`."""
    import torch

    sizes = LAYER_SIZES["tab"]
    config = MLPConfig(layer_sizes=sizes, output="softmax")
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-9.0, maximum=9.0) for i in range(sizes[0]))
    schema = Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes")))
    module = MLP(config, generator=torch.Generator().manual_seed(0))
    tensors = module.to_tensors()
    Store(folder).publish("tab", Checkpoint(config=config, schema=schema, tensors=tensors))
    weights = {}
    for name, tensor in tensors.items():
        _, layer, kind = name.split(".")
        weights[f"{2 * int(layer)}.{kind}"] = torch.from_numpy(tensor)  # an activation follows each layer
    torch.save(weights, folder.parent / "weights.pt")


def make_rows(path: Path, rows: int, group: int) -> None:
    """Writes rows of standard normal float32 numbers in 30 columns, and a column `id`."""
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(LAYER_SIZES["tab"][0])]
    schema = pa.schema([("id", pa.int64()), *((name, pa.float32()) for name in names)])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, group):
            count = min(group, rows - start)
            columns = {name: rng.standard_normal(count, dtype=np.float32) for name in names}
            writer.write_table(pa.table({"id": np.arange(start, start + count), **columns}), row_group_size=group)


def cpu_of(command: list[str]) -> tuple[float, float]:
    """Runs a command and returns its CPU seconds and its peak of memory in MB.

    The kernel counts the peak of this process for the other one too, so a smaller peak is not seen.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … failed with {process.returncode}.")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def ray_cpu(python: Path, folder: Path, source: str, out: str) -> float:
    """Runs Ray Data over a source; returns the CPU seconds of all its processes.

    The processes are read every 0.1 s, because Ray's raylet does not wait for the workers. What a process computes in
    its last 0.1 s is not counted, in Ray's favour.
    """
    variables = {
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray listens on the loopback interface only
        "RAY_AUTH_TOKEN": secrets.token_hex(32),  # else Ray writes one to the home folder
    }
    script = [str(python), str(ROOT / "benchmarks/ray_torch.py")]
    arguments = [str(folder / "weights.pt"), str(folder / source), str(folder / out)]
    found: dict[tuple[int, int], float] = {}
    with tempfile.TemporaryDirectory(prefix="ray-") as scratch, (folder / "ray.log").open("w+b") as log:
        process = subprocess.Popen(
            [*script, *arguments, scratch], env={**os.environ, **variables}, stdout=log, stderr=log
        )
        while process.poll() is None:
            found |= _cpu_of_processes(process.pid, found.keys())
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit(f"{(folder / 'ray.log').read_text()[-4_000:]}\nRay Data failed with {process.returncode}.")
    return sum(found.values())


def check_same_answers(folder: Path, one: str, other: str) -> None:
    """Checks that two folders of answers have the same probabilities for the same rows."""
    tables = [
        pyarrow.dataset.dataset(folder / name, format="parquet").to_table().sort_by("id") for name in (one, other)
    ]
    for name in ("id", "probability no", "probability yes"):
        np.testing.assert_allclose(tables[0][name].to_numpy(), tables[1][name].to_numpy(), atol=1e-5)


def served_rows(folder: Path) -> dict[int, float]:
    """Sends rows through `POST /predict` as JSON; returns the rows a CPU second of the server, by rows of a request."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AXON_")}
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    port = free_port()
    command = [sys.executable, "-m", "axon", "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen([*command, "--store", str(folder / "store")], env=environment, stderr=subprocess.DEVNULL)
    table = pyarrow.parquet.read_table(folder / "few.parquet").drop_columns(["id"])
    rows = list(zip(*table.to_pydict().values(), strict=True))
    found = {}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            _wait_until_ready(client, process)
            for size, requests in _REQUESTS.items():
                body = orjson.dumps({"model": "tab", "instances": rows[:size]})
                client.post("/predict", content=body).raise_for_status()
                before = cpu_of_tree(process.pid)
                for _ in range(requests):
                    client.post("/predict", content=body).raise_for_status()
                found[size] = size * requests / (cpu_of_tree(process.pid) - before)
    finally:
        process.terminate()
        process.wait(60)
    return found


def cpu_of_tree(root: int) -> float:
    """Returns the CPU seconds of a process and of its living descendants. `wait4` does not count all of these."""
    return sum(_cpu_of_processes(root).values())


def _cpu_of_processes(root: int, known: Set[tuple[int, int]] = frozenset()) -> dict[tuple[int, int], float]:
    """Returns the CPU seconds of living processes, by process id and time of the start.

    Args:
        root: process id whose descendants count, with itself.
        known: keys of processes found before, which count with their descendants: orphans have another parent now.
    """
    parents: dict[int, tuple[int, int, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            parents[int(folder.name)] = (int(fields[1]), int(fields[19]), ticks / os.sysconf("SC_CLK_TCK"))
    tree, more = set[int](), {root, *(pid for pid, start in known if pid in parents and parents[pid][1] == start)}
    while more:
        tree |= more
        more = {pid for pid, (parent, _, _) in parents.items() if parent in tree} - tree
    return {(pid, parents[pid][1]): parents[pid][2] for pid in tree if pid in parents}


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").is_success:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server ended with {process.returncode}.")


def _apart(function: Callable[..., None], *given: object) -> None:
    """Calls a function in a process of its own, whose memory does not count for the processes that are measured."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(function, *given).result()


def main() -> None:
    """Runs the rounds and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of the file")
    parser.add_argument("--group", type=int, default=_GROUP, help="rows of a row group")
    parser.add_argument("--rounds", type=int, default=3)
    interop = Path(os.environ.get("INTEROP_ENVIRONMENTS") or ROOT / ".interop")
    parser.add_argument("--ray", type=Path, default=interop / "engines", help="environment with Ray, of make interop")
    arguments = parser.parse_args()
    python = arguments.ray / "bin/python"
    with tempfile.TemporaryDirectory(prefix="axon-score-") as made:
        folder = Path(made)
        _apart(make_store, folder / "store")
        _apart(make_rows, folder / "rows.parquet", arguments.rows, arguments.group)
        _apart(make_rows, folder / "few.parquet", _FEW, arguments.group)
        taken: dict[str, list[float]] = {"read": [], "score": [], "ray": []}
        starts: dict[str, list[float]] = {"read": [], "score": [], "ray": []}
        memory = 0.0
        served = served_rows(folder)
        for number in range(arguments.rounds):
            for name, times in (("rows", taken), ("few", starts)):
                source = str(folder / f"{name}.parquet")
                times["read"].append(cpu_of([sys.executable, "-c", _READ, source])[0])
                command = [sys.executable, "-m", "axon", "score", source, "--model", "tab", "--quiet", "--threads", "1"]
                command += ["--store", str(folder / "store"), "--out", str(folder / f"{name}-{number}")]
                seconds, peak = cpu_of([*command, "--device", "cpu", "--keep", "id"])
                times["score"].append(seconds)
                memory = max(memory, peak)
                if python.exists():
                    out = f"ray-{name}-{number}"
                    times["ray"].append(ray_cpu(python, folder, f"{name}.parquet", out))
                    _apart(check_same_answers, folder, f"{name}-{number}", out)
    rows = arguments.rows - _FEW
    print(f"{arguments.rows:,} rows, 30 float32 columns, 30-128-64-2, medians of {arguments.rounds} rounds")
    speeds = {}
    for name, what in (("read", "pyarrow reads the columns"), ("score", "axon score, with --keep id"), ("ray", _RAY)):
        if not taken[name]:
            print(f"{what:28} not measured: {python} is not there; make interop makes it")
            continue
        start = statistics.median(starts[name])
        net = statistics.median(taken[name]) - start
        speeds[name] = rows / net
        print(f"{what:28} {speeds[name]:12,.0f} rows a CPU second   {net:6.2f} s and {start:.2f} s to start")
    for size, speed in served.items():
        print(f"{'POST /predict, the server':28} {speed:12,.0f} rows a CPU second   {size:,} rows a request, as JSON")
    if "ray" in speeds:
        whole = statistics.median(taken["ray"]) / statistics.median(taken["score"])
        print(f"{'axon score / Ray Data':28} {speeds['score'] / speeds['ray']:12.1f}   {whole:.1f} with both starts")
    print(f"{'axon score / POST /predict':28} {speeds['score'] / max(served.values()):12.1f}   1,000 rows a request")
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hidden = "" if memory > own else "   at most: the benchmark itself has as much"
    print(f"{'peak of the memory':28} {memory:12,.0f} MB{hidden}")


if __name__ == "__main__":
    main()
