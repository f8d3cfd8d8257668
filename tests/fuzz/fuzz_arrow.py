"""A libFuzzer target: any bytes are an Arrow stream of the model's rows, or an error of the client's.

python tests/fuzz/fuzz_arrow.py FOLDER -max_total_time=60
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import atheris
import pyarrow as pa
import pyarrow.ipc

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(
    include=["service.arrow", "service.http.wire.arrow_request", "models.columns.dictionary_cells"]
):
    from models.columns.encoding import RowEncoder
    from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
    from service.errors import RequestError
    from service.http.wire.arrow_request import ArrowRequest

from models.errors import RowError
from service.large_reading import LargeReading

MOST_ROWS = 500
MOST_INFLATED = 1 << 20
ENCODER = RowEncoder(
    Schema(
        columns=(
            NumericColumn(name="n", mean=0.0, std=1.0, minimum=-3.0, maximum=3.0, missing="indicator"),
            CategoricalColumn(name="c", categories=("a", "b"), unknown="ignore", missing="ignore"),
            DateColumn(name="d", mean=0.0, std=300.0, minimum=-9e4, maximum=9e4, missing="mean"),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    )
)


def read(data: bytes) -> None:
    """Reads one input of the fuzzer."""
    request = ArrowRequest(data, None, ENCODER, limit=MOST_INFLATED, kept={})
    reading = LargeReading(request, ENCODER, most_rows=MOST_ROWS)
    try:
        done = sum(size or 0 for size in reading.steps())
    except (RequestError, RowError):
        return
    assert done <= len(data)
    assert reading.rows is not None
    assert 0 < reading.rows.rows <= MOST_ROWS
    assert sum(map(len, reading.rows.cut(0, reading.rows.rows))) == reading.rows.rows * ENCODER.width * 4


def write_seeds(folder: Path) -> None:
    """Writes a stream for each type, and one with all kinds of columns."""
    numbers = [None, 1, 2]
    texts = pa.array(["a", None, "a text beyond its view"])
    dates = pa.array([None, 0, 86_400], pa.int64())
    shapes: dict[str, dict[str, pa.Array]] = {
        **{str(kind): {"n": pa.array(numbers, kind)} for kind in (pa.int8(), pa.uint64(), pa.float32(), pa.float64())},
        **{f"decimal {bits}": {"n": pa.array(numbers, kind(7))} for bits, kind in _DECIMALS.items()},
        **{str(kind): {"c": texts.cast(kind)} for kind in (pa.large_string(), pa.string_view())},
        **{str(kind): {"d": dates.cast(kind)} for kind in (pa.timestamp("s"), pa.timestamp("ns", "UTC"), pa.date64())},
        "half": {"n": pa.array([1.0, 2.0, 3.0], pa.float16())},
        "duration": {"n": pa.array(numbers, pa.duration("ms"))},
        "dictionary": {"n": pa.array(numbers).dictionary_encode(), "c": texts.dictionary_encode()},
        "runs": {"c": pa.compute.run_end_encode(texts), "n": pa.compute.run_end_encode(pa.array(numbers))},
        "boolean": {"c": pa.array([True, None, False])},
        "nothing": {"c": pa.nulls(3), "d": pa.nulls(3)},
        "others": {
            "list": pa.array([[1], [], None]),
            "struct": pa.array([{"a": 1}] * 3),
            "bytes": pa.array([b"x"] * 3),
        },
    }
    usual = {"n": pa.array([0.5, 1.5, None]), "c": texts, "d": dates.cast(pa.timestamp("ms"))}
    for name, columns in shapes.items():
        for compression in (None, "lz4", "zstd"):
            table = pa.table({**usual, **columns})
            out = io.BytesIO()
            options = pa.ipc.IpcWriteOptions(compression=compression)
            with pa.ipc.new_stream(out, table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=2)
            (folder / f"{name} {compression}".replace("/", "-")).write_bytes(out.getvalue())


_DECIMALS = {32: pa.decimal32, 64: pa.decimal64, 128: pa.decimal128, 256: pa.decimal256}

if __name__ == "__main__":
    import pyarrow.compute

    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
