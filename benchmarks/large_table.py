"""The memory and the time of `axon fit` on a large Parquet file of 30 columns of numbers.

    python -m benchmarks.large_table [--rows 10000000] [--format csv] [options of `axon fit`, such as --budget 10min]

The file is generated, and deleted at the end. docs/training.md has figures from it.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from training.data.scratch import scratch_folder

COLUMNS = 30
_GROUP_ROWS = 100_000
_POLL_SECONDS = 0.02
_MB = 1e6


@dataclass
class Peaks:
    """The greatest memory of a process, in bytes.

    Attributes:
        anonymous: memory that belongs to no file, seen by polling.
        resident: all memory, with the pages of mapped files, as the kernel counts it.
    """

    anonymous: int = 0
    resident: int = 0

    def look(self, pid: int) -> None:
        """Looks at a running process; one that has ended changes nothing."""
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return
        sizes = {name: 1024 * int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE)}
        self.anonymous = max(self.anonymous, sizes.get("RssAnon", 0))
        self.resident = max(self.resident, sizes.get("VmHWM", 0))


def main() -> None:
    """Generates the file, trains a model, and prints a line of figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--format", choices=("parquet", "csv"), default="parquet")
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="axon-large-", dir=scratch_folder()) as folder:
        path = Path(folder) / f"table.{arguments.format}"
        generate(path, arguments.rows)
        command = [sys.executable, "-m", "training", "fit", str(path), "--target", "y", "--store", f"{folder}/store"]
        peaks, begun = Peaks(), time.monotonic()
        process = subprocess.Popen([*command, *options])
        while process.poll() is None:
            peaks.look(process.pid)
            time.sleep(_POLL_SECONDS)
        wall, used = time.monotonic() - begun, os.times()
        size = path.stat().st_size
    if process.returncode:
        sys.exit(process.returncode)
    print(
        f"{arguments.rows:,} rows of {COLUMNS} columns, a file of {size / _MB:,.0f} MB: at most "
        f"{peaks.anonymous / _MB:,.0f} MB of anonymous memory and {peaks.resident / _MB:,.0f} MB with the pages of "
        f"mapped files, {wall:,.0f} s, {used.children_user + used.children_system:,.0f} s of CPU time"
    )


def generate(path: Path, rows: int) -> None:
    """Writes a file of normal columns and a target made from the columns, in row groups.

    Args:
        path: path of the file, `.parquet` or `.csv`.
        rows: number of rows.
    """
    rng = np.random.default_rng(0)
    weights = rng.normal(size=COLUMNS)
    names = [*(f"x{i}" for i in range(COLUMNS)), "y"]
    schema = pa.schema([(name, pa.float64()) for name in names])
    make = pyarrow.csv.CSVWriter if path.suffix == ".csv" else pyarrow.parquet.ParquetWriter
    with make(path, schema) as writer:
        for at in range(0, rows, _GROUP_ROWS):
            x = rng.normal(size=(min(_GROUP_ROWS, rows - at), COLUMNS))
            y = np.sin(x[:, 0]) + x @ weights / 5 + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=len(x))
            writer.write_table(pa.table([*x.T, y], schema=schema))


if __name__ == "__main__":
    main()
