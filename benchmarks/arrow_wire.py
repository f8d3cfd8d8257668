"""The wire format of Arrow: streams of record batches in both directions, as from a data frame."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from benchmarks.wire import Message, Rows

_DATES = ("since", "last_seen")  # columns of the table workload
_TYPE = "application/vnd.apache.arrow.stream"


@dataclass(frozen=True)
class ArrowWire:
    """Arrow streams.

    Rows of numbers have a float32 column for each number. Objects have typed dates, and texts with dictionaries.
    """

    tensor: str = ""
    grpc: bool = False

    def encode(self, rows: Any) -> Message:
        """Returns a request."""
        if isinstance(rows[0], dict):
            table = pa.Table.from_pylist([{**row, **{name: _moment(row[name]) for name in _DATES}} for row in rows])
            columns = [cells.dictionary_encode() if cells.type == pa.string() else cells for cells in table.columns]
            table = pa.table(columns, names=table.column_names)
        else:
            numbers = zip(*rows, strict=True)
            table = pa.table({f"x{i}": pa.array(cells, pa.float32()) for i, cells in enumerate(numbers)})
        out = pa.BufferOutputStream()
        with pa.ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
        return Message(bytes(out.getvalue()), {"content-type": _TYPE, "accept": _TYPE})

    def decode(self, answer: Message) -> Rows:
        """Returns the probabilities in an answer."""
        probabilities: Rows = pa.ipc.open_stream(answer.body).read_all()["probabilities"].to_pylist()
        return probabilities


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
