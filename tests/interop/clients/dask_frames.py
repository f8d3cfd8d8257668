"""A scorer in Dask: `dask_frames.py SOURCES FOLDER`; each call writes its answers to a Parquet file in FOLDER."""

import os
import sys
from pathlib import Path

import dask
import dask.dataframe
from distributed import Client, LocalCluster
from mishaps import HeldScorer, Killer, replace_version

import axon

SOURCES, FOLDER = map(Path, sys.argv[1:])
STORE = str(SOURCES / "store")


def answered(call, source, scorer, before=lambda: None):
    """Answers a source and writes the answers as one table; the scorer's answer to no rows declares the columns."""
    rows = dask.dataframe.read_parquet(str(SOURCES / source))
    answers = rows.map_partitions(scorer, meta=scorer(rows.head(0)))
    before()
    answers.compute().to_parquet(FOLDER / f"{call}.parquet")


def main():
    from reports import failure, report  # reads standard input, which the workers lack

    rows = dask.dataframe.read_parquet(str(SOURCES / "rows"))
    answers = rows.map_partitions(axon.Scorer("numbers", STORE, keep=["id"]))  # Dask asks for the columns by itself
    answers.compute().to_parquet(FOLDER / "processes.parquet")
    answered("all kinds", "mixed", axon.Scorer("mixed", STORE, keep=["note"]))
    for errors in ("skip", "null"):
        answered(errors, "broken", axon.Scorer("numbers", STORE, keep=["id"], errors=errors))
    failure("refuse", lambda: answered("refuse", "broken", axon.Scorer("numbers", STORE)))
    scorer = axon.Scorer("mixed", str(FOLDER / "replaced"))
    failure("replaced", lambda: answered("replaced", "mixed", scorer, before=lambda: replace_version(FOLDER)))
    killer = Killer()
    answered("killed", "rows", HeldScorer("numbers@1", STORE, keep=["id"]))
    report("killed", killer.killed)


if __name__ == "__main__":  # the workers are spawned, and import this file
    settings = {"temporary-directory": os.environ["DASK_FOLDER"], "distributed.scheduler.allowed-failures": 2}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster,
        Client(cluster),
    ):
        main()
