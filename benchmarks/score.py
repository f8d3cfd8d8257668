"""Bulk scoring beside the bare reading of the same columns: rows a second of CPU time, and the memory.

`make bench-score` makes a Parquet file of float32 columns and a model 30-128-64-2, then measures in turn, each in a
process of its own with one thread: pyarrow reads the model's columns; Axon scores the file. The CPU time of the start
(imports, the model) is measured on a file of few rows and taken off, and is shown. A server answers rows of the same
file over `POST /predict`; the client's CPU time does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import orjson
import pyarrow as pa
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
_READ = """
import sys, pyarrow.parquet
columns = [f"x{i}" for i in range(30)]
with pyarrow.parquet.ParquetFile(sys.argv[1], pre_buffer=False, buffer_size=1 << 20) as file:
    for batch in file.iter_batches(batch_size=1 << 14, columns=columns, use_threads=False):
        pass
"""


def make_store(folder: Path) -> None:
    """Publishes a classifier 30-128-64-2 as `tab`."""
    import torch

    sizes = LAYER_SIZES["tab"]
    config = MLPConfig(layer_sizes=sizes, output="softmax")
    columns = tuple(NumericColumn(name=f"x{i}", mean=0.0, std=1.0, minimum=-9.0, maximum=9.0) for i in range(sizes[0]))
    schema = Schema(columns=columns, target=ClassTarget(name="y", labels=("no", "yes")))
    module = MLP(config, generator=torch.Generator().manual_seed(0))
    Store(folder).publish("tab", Checkpoint(config=config, schema=schema, tensors=module.to_tensors()))


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
    """Runs a command; returns the CPU seconds and the peak of its memory in MB."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … failed with {process.returncode}.")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


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
    """Returns the CPU seconds of a process and its living descendants, which `wait4` does not count all."""
    parents: dict[int, tuple[int, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks = int(fields[11]) + int(fields[12])
            parents[int(folder.name)] = (int(fields[1]), ticks / os.sysconf("SC_CLK_TCK"))
    tree, more = set[int](), {root}
    while more:
        tree |= more
        more = {pid for pid, (parent, _) in parents.items() if parent in tree} - tree
    return sum(parents[pid][1] for pid in tree if pid in parents)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/health/ready").is_success:
                return
        time.sleep(0.1)
    raise SystemExit(f"the server ended with {process.returncode}.")


def main() -> None:
    """Runs the rounds and prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000, help="rows of the file")
    parser.add_argument("--group", type=int, default=_GROUP, help="rows of a row group")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="axon-score-") as made:
        folder = Path(made)
        # In a process of its own: the peak of a process counts for the processes that it starts.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            pool.submit(make_store, folder / "store").result()
            pool.submit(make_rows, folder / "rows.parquet", arguments.rows, arguments.group).result()
            pool.submit(make_rows, folder / "few.parquet", _FEW, arguments.group).result()
        taken: dict[str, list[float]] = {"read": [], "score": []}
        starts: dict[str, list[float]] = {"read": [], "score": []}
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
    rows = arguments.rows - _FEW
    print(f"{arguments.rows:,} rows, 30 float32 columns, 30-128-64-2, medians of {arguments.rounds} rounds")
    for name, what in (("read", "pyarrow reads the columns"), ("score", "axon score, with --keep id")):
        start = statistics.median(starts[name])
        net = statistics.median(taken[name]) - start
        print(f"{what:28} {rows / net:12,.0f} rows a CPU second   {net:6.2f} s and {start:.2f} s to start")
    for size, speed in served.items():
        print(f"{'POST /predict, the server':28} {speed:12,.0f} rows a CPU second   {size:,} rows a request, as JSON")
    print(f"{'peak of the memory':28} {memory:12,.0f} MB")


if __name__ == "__main__":
    main()
