"""Arrow's memory is bounded, whatever the size of a row group and the length of its texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scored_tables import write

from axon.cli import main
from models.store import Store
from scoring.local_files import LocalFile
from scoring.parquet_file import ParquetReader

_MB = 1 << 20


@contextmanager
def own_memory() -> Iterator[pa.MemoryPool]:
    """Counts what Arrow allocates, without the rest of the process."""
    before = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counted)
    yield counted
    pa.set_memory_pool(before)


def test_a_large_row_group_is_not_in_the_memory_at_once(tmp_path: Path) -> None:
    rows = 2 << 20
    source = tmp_path / "rows.parquet"
    table = pa.table({f"x{i}": np.arange(rows, dtype=np.float32) for i in range(8)})
    pq.write_table(table, source, row_group_size=rows, use_dictionary=False)
    assert table.nbytes == 64 * _MB
    file = LocalFile(source, name="rows", form="parquet")
    with own_memory() as memory, ParquetReader(file, columns=table.column_names) as reader:
        found = [batch.num_rows for batch in reader.batches((0, 1), table.column_names, 1 << 14)]
        assert sum(found) == rows
        assert reader.position() > 60 * _MB
        assert memory.max_memory() < 16 * _MB


@pytest.mark.parametrize("kind", ["different", "repeated"])
@pytest.mark.slow
def test_long_kept_texts_make_batches_of_fewer_rows(store: Store, numbers: pa.Table, tmp_path: Path, kind: str) -> None:
    rows = 30_000
    ids = pa.array(np.arange(rows) % (7 if kind == "repeated" else rows)).cast(pa.string())
    texts = pc.utf8_rpad(ids, 8_000, "-")
    assert texts.nbytes > 220 * _MB
    places = np.arange(rows) % len(numbers)
    source = write(numbers.take(places).append_column("text", texts), tmp_path / "rows.parquet", row_group_size=rows)
    options = ["--model", "numbers", "--store", str(store.root), "--device", "cpu", "--threads", "2"]
    with own_memory() as memory:
        assert main(["score", str(source), *options, "--out", str(tmp_path / "out"), "--keep", "text"]) == 0
        assert memory.max_memory() < 160 * _MB
    kept = pq.read_table(tmp_path / "out", columns=["text"])["text"]
    assert kept.cast(pa.large_string()).equals(pa.chunked_array([texts]).cast(pa.large_string()))
