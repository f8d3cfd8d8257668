"""A libFuzzer target: any bytes are an inference request or an InvalidRequest, the same at once and in steps.

python tests/fuzz/fuzz_infer.py FOLDER -max_total_time=60
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import Any

import atheris

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

with atheris.instrument_imports(include=["service.open_inference", "service.http.wire"]):
    from infer_bodies import FORMATS, InferHead, binary_tensor, element_bytes, tensor, with_bytes

    from models.columns.encoding import RowEncoder
    from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, Schema
    from models.errors import RowError
    from service.errors import InvalidRequest, TooLarge
    from service.http.wire.bulk_json import NumberReader
    from service.http.wire.open_inference_format import BinaryInferFormat
    from service.http.wire.open_inference_reader import InferReader
    from service.large_reading import LargeReading

_NUMBERS = NumberReader()
_TARGET = ClassTarget(name="y", labels=("no", "yes"))
_A = NumericColumn(name="a", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0, missing="mean")
_B = NumericColumn(name="b", mean=0.0, std=1.0, minimum=-1.0, maximum=1.0)
_NAMES = CategoricalColumn(name="b", categories=("x", "5"), unknown="ignore", missing="ignore")
_ENCODERS = [RowEncoder(Schema(columns=(_A, other), target=_TARGET)) for other in (_B, _NAMES)]
_STANDING = BinaryInferFormat()
# The way in steps refuses these, because it reads token by token.
_STRICTER = ("stands twice", "nested more than", "values stand outside", "has over", "more than 4,096")


def read(data: bytes) -> None:
    """Reads one input of the fuzzer: the length of the JSON part in two bytes, and then a body."""
    if len(data) < 2:
        return
    [length] = struct.unpack_from("<H", data)
    body = data[2:]
    length = min(length, len(body))
    for encoder in _ENCODERS:
        fresh = at_once(BinaryInferFormat(), encoder, body, length)
        for _ in range(2):
            assert at_once(_STANDING, encoder, body, length) == fresh
        found, reason = in_steps(encoder, body, length)
        assert found == fresh or any(part in reason for part in _STRICTER), (found, fresh, reason)


def at_once(wire: BinaryInferFormat, encoder: RowEncoder, body: bytes, length: int) -> Any:
    """Returns the encoded rows and the id; None for a refusal."""
    try:
        _, rows, may_hold_booleans, form = wire.read(body, "m", InferHead(length))
        return bytes(encoder.encode_any(rows, may_hold_booleans=may_hold_booleans)), form.id  # type: ignore[union-attr]
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()


def in_steps(encoder: RowEncoder, body: bytes, length: int) -> tuple[Any, str]:
    """Returns the same by the way of large bodies, and the reason of a refusal."""
    reader = InferReader(body, "m", length, _NUMBERS)
    reading = LargeReading(reader, encoder, most_rows=100_000)
    try:
        for _ in reading.steps():
            pass
    except (InvalidRequest, RowError, TooLarge) as error:
        return None, str(error)
    finally:
        encoder.unknown.take()
    rows = reading.rows
    assert rows is not None
    return (b"".join(rows.cut(0, rows.rows)), reader.form.id), ""


def write_seeds(folder: Path) -> None:
    """Writes valid requests of each datatype."""
    for datatype in (*FORMATS, "BYTES"):
        elements: list[Any] = ["x", "5", "", "é"] if datatype == "BYTES" else [0, 1, 1, 0]
        part = element_bytes(datatype, elements)
        column = element_bytes(datatype, elements[:2])
        named = [binary_tensor(name, datatype, (2, 1), len(column)) for name in ("a", "b")]
        seeds = {
            "matrix": with_bytes({"inputs": [binary_tensor("x", datatype, (2, 2), len(part))]}, part),
            "json": with_bytes({"inputs": [tensor("x", datatype, (2, 2), elements)], "id": "7"}),
            "named": with_bytes({"inputs": named, "outputs": [{"name": "predictions"}]}, column, column),
            "mixed": with_bytes({"inputs": [named[1], tensor("a", datatype, (2,), elements[:2])]}, column),
            "raw": (part, 0),
        }
        for name, (body, length) in seeds.items():
            (folder / f"{datatype}-{name}").write_bytes(struct.pack("<H", length) + body)


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
