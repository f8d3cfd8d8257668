"""A scorer in Ray Data: `ray_data.py SOURCES FOLDER`; each call writes its answers to a Parquet file in FOLDER."""

import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import ray
import ray.data
from mishaps import HeldScorer, Killer, replace_version
from reports import failure, report

import axon

SOURCES, FOLDER = map(Path, sys.argv[1:])
STORE = str(SOURCES / "store")
KEEP_ID = {"keep": ["id"]}
sys.stdout = sys.stderr  # Ray prints warnings; the reports alone are on standard output
TWO_ACTORS = ray.data.ActorPoolStrategy(size=2)


def answered(call, source, scorer, **options):
    """Answers a source and writes the answers as one table."""
    dataset = ray.data.read_parquet(str(SOURCES / source)).map_batches(scorer, batch_size=4_096, **options)
    blocks = ray.get(dataset.to_arrow_refs())
    pyarrow.parquet.write_table(pa.concat_tables(blocks, promote_options="permissive"), FOLDER / f"{call}.parquet")


ray.init(
    address="local",
    num_cpus=3,
    object_store_memory=150_000_000,
    include_dashboard=False,
    logging_level="warning",
    log_to_driver=False,
    _temp_dir=os.environ["RAY_FOLDER"],
)
try:
    numbers = {"fn_constructor_args": ("numbers@1", STORE), "fn_constructor_kwargs": KEEP_ID, "compute": TWO_ACTORS}
    for batch_format in ("pyarrow", "pandas", "numpy"):
        answered(f"actors {batch_format}", "rows", axon.Scorer, batch_format=batch_format, **numbers)
        scorer = axon.Scorer("mixed", STORE, keep=["note"])
        answered(f"tasks {batch_format}", "mixed", scorer, batch_format=batch_format)
    for errors in ("skip", "null"):
        scorer = axon.Scorer("numbers", STORE, errors=errors, **KEEP_ID)
        answered(errors, "broken", scorer, batch_format="pyarrow")
    scorer = axon.Scorer("numbers", STORE)
    failure("refuse", lambda: answered("refuse", "broken", scorer, batch_format="pyarrow"))
    scorer = axon.Scorer("mixed", str(FOLDER / "replaced"))
    replace_version(FOLDER)
    failure("replaced", lambda: answered("replaced", "mixed", scorer, batch_format="pyarrow"))
    killer = Killer()
    answered("killed", "rows", HeldScorer, batch_format="pandas", **numbers)
    report("killed", killer.killed)
finally:
    ray.shutdown()
