"""Large inference requests, and both ways in which the server reads one: at once and in steps."""

from __future__ import annotations

import random
from typing import Any

from infer_bodies import InferHead, binary_tensor, element_bytes, tensor, with_bytes

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.errors import RowError
from service.errors import InvalidRequest
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_text import USUAL_SIZES, SliceSizes
from service.http.wire.open_inference_format import BinaryInferFormat, JsonInferFormat
from service.http.wire.open_inference_reader import InferReader
from service.large_reading import LargeReading

NUMBERS = NumberReader()
LABELS = ClassTarget(name="y", labels=("no", "yes"))


def number(name: str, **changes: Any) -> NumericColumn:
    return NumericColumn(**({"name": name, "mean": 0.0, "std": 1.0, "minimum": -3.0, "maximum": 3.0} | changes))


def schema(*columns: Any) -> RowEncoder:
    return RowEncoder(Schema(columns=columns, target=LABELS))


PLAIN = schema(number("a"), number("b"))
GAPS = schema(number("a", missing="indicator"), number("b", missing="mean", origin=5.0))
MIXED = schema(
    number("a", missing="mean"),
    CategoricalColumn(name="b", categories=("5", "5.5", "red", "true"), unknown="ignore", missing="ignore"),
)
DATES = DateColumn(name="d", mean=19_000.0, std=300.0, minimum=18_000.0, maximum=20_000.0, parts=("weekday",))
ENCODERS = {"plain": PLAIN, "gaps": GAPS, "mixed": MIXED}


Found = tuple[bytes, str | None, Any] | None  # encoded rows, id and layout of the answer; None if refused


def at_once(encoder: RowEncoder, body: bytes, length: int | None) -> Found:
    """Reads a request in the small way."""
    wire = JsonInferFormat() if length is None else BinaryInferFormat()
    try:
        _, rows, may_hold_booleans, form = wire.read(body, "m", InferHead(length))
        data = bytes(encoder.encode_any(rows, may_hold_booleans=may_hold_booleans))
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()
    return data, form.id, form.layout  # type: ignore[union-attr]


def in_steps(encoder: RowEncoder, body: bytes, length: int | None, sizes: SliceSizes = USUAL_SIZES) -> Found:
    """Reads a request in the large way."""
    reader = InferReader(body, "m", len(body) if length is None else length, NUMBERS, sizes)
    reading = LargeReading(reader, encoder, most_rows=10**6)
    try:
        for _ in reading.steps():
            pass
    except (InvalidRequest, RowError):
        return None
    finally:
        encoder.unknown.take()
    assert reading.rows is not None
    return b"".join(reading.rows.cut(0, reading.rows.rows)), reader.form.id, reader.form.layout


dice = random.Random(3)
MANY = 30_000
FLOATS = [dice.gauss(0, 1) for _ in range(2 * MANY)]
WHOLE = [dice.randrange(-999, 999) for _ in range(2 * MANY)]
TEXTS = [dice.choice(["red", "5", "true", "blue", "é" * 9]) for _ in range(MANY)]
HALF_GAPS = [None if at % 5 == 0 else value for at, value in enumerate(FLOATS)]
DAYS = [f"20{dice.randrange(10, 29)}-0{dice.randrange(1, 9)}-{dice.randrange(10, 28)}" for _ in range(MANY)]


def pairs(flat: list[Any]) -> list[list[Any]]:
    return [flat[at : at + 2] for at in range(0, len(flat), 2)]


def packed(name: str, datatype: str, shape: tuple[int, ...], flat: list[Any]) -> tuple[dict[str, Any], bytes]:
    part = element_bytes(datatype, flat)
    return binary_tensor(name, datatype, shape, len(part)), part


LARGE: dict[str, tuple[RowEncoder, list[tuple[dict[str, Any], bytes]]]] = {
    "floats": (PLAIN, [(tensor("x", "FP32", (MANY, 2), FLOATS), b"")]),
    "nested floats": (PLAIN, [(tensor("x", "FP64", (MANY, 2), pairs(FLOATS)), b"")]),
    "whole numbers": (PLAIN, [(tensor("x", "INT32", (MANY, 2), WHOLE), b"")]),
    "halves": (PLAIN, [(tensor("x", "FP16", (MANY, 2), FLOATS), b"")]),
    "gaps": (GAPS, [(tensor("x", "FP32", (MANY, 2), pairs(HALF_GAPS)), b"")]),
    "named columns": (
        MIXED,
        [(tensor("b", "BYTES", (MANY, 1), TEXTS), b""), (tensor("a", "FP32", (MANY,), FLOATS[:MANY]), b"")],
    ),
    "dates": (schema(DATES), [(tensor("d", "BYTES", (MANY,), DAYS), b"")]),
    "binary floats": (PLAIN, [packed("x", "FP32", (MANY, 2), FLOATS)]),
    "binary doubles": (GAPS, [packed("x", "FP64", (MANY, 2), FLOATS)]),
    "binary whole numbers": (PLAIN, [packed("x", "INT64", (MANY, 2), WHOLE)]),
    "binary texts": (
        MIXED, [packed("b", "BYTES", (MANY,), TEXTS), packed("a", "FP32", (MANY, 1), FLOATS[:MANY])],
    ),
    "binary truth values": (
        MIXED, [packed("b", "BOOL", (MANY,), [n > 0 for n in WHOLE[1::2]]), packed("a", "INT16", (MANY,), WHOLE[::2])],
    ),
    "binary dates": (schema(DATES), [packed("d", "BYTES", (MANY,), DAYS)]),
}  # fmt: skip


def large_request(kind: str) -> tuple[RowEncoder, bytes, int | None]:
    """Returns an encoder, a body for the encoder, and the length of the JSON part, None for JSON alone."""
    encoder, given = LARGE[kind]
    body, length = with_bytes({"inputs": [input_ for input_, _ in given], "id": "x"}, *[part for _, part in given])
    return encoder, body, length if length < len(body) else None
