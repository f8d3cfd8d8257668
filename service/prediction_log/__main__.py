"""The process that turns spools into Parquet files: `python -m service.prediction_log FOLDER BYTES`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pyarrow as pa

from models.prediction_log.conversion import convert_spools
from service.process_name import set_process_name

_NICE = 5  # requests come first; with much more, a busy machine would never convert


def main(folder: str, most_bytes: str) -> int:
    """Converts all spools whose writers have ended; returns the exit code.

    Args:
        folder: folder of the log.
        most_bytes: largest number of bytes of all files.
    """
    set_process_name("axon-log-files")
    os.nice(_NICE)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    try:
        remarks = convert_spools(Path(folder), int(most_bytes))
    except OSError as error:
        sys.stderr.write(f"the log of predictions has no new Parquet file: {error}\n")
        return 1
    for remark in remarks:
        sys.stderr.write(f"the log of predictions: {remark}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
