"""Rows that were taken for the log of predictions, and wait for the writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.columns.unknown_texts import UnknownText
from service.batching.encoded_rows import EncodedRows
from service.batching.served_version import ServedVersion
from service.batching.ticket import NamedRow, Ticket


@dataclass(slots=True, eq=False)
class TakenRows:
    """Rows of one request or of one group of requests.

    Attributes:
        served: model version that answered.
        time: time of the answer, in seconds since 1970.
        names: request and place of each row; or those of the first row, if `places` has the others.
        places: numbers of the rows of the only request; None for a group of requests.
        rows: encoded rows, as bytes.
        answers: `(rows, outputs)` answers.
        unknown: texts of cells with unknown categories; their rows are positions among these rows.
    """

    served: ServedVersion
    time: float
    names: Sequence[NamedRow]
    places: Sequence[int] | None
    rows: bytes
    answers: NDArray[np.float32]
    unknown: Sequence[UnknownText] = field(default_factory=tuple)

    def __len__(self) -> int:
        return len(self.names if self.places is None else self.places)

    def named(self) -> Sequence[NamedRow]:
        """Returns request and place of each row; called by the writer, since each row takes time."""
        if self.places is None:
            return self.names
        request_id, _, asked, members = self.names[0]
        return [NamedRow(request_id, place, asked, members) for place in self.places]

    @property
    def size(self) -> int:
        """Number of bytes of the encoded rows and the answers."""
        return len(self.rows) + self.answers.nbytes


def rows_of(ticket: Ticket, start: int, stop: int, chosen: Sequence[int]) -> bytes:
    """Returns some of a ticket's encoded rows.

    Args:
        ticket: ticket that has not ended.
        start: first row of the span.
        stop: row after the last of the span.
        chosen: positions within the span, ascending.
    """
    data, row_bytes = ticket.data, ticket.row_bytes
    is_whole = len(chosen) == stop - start
    if isinstance(data, EncodedRows):
        if is_whole:
            return b"".join(data.cut(start, stop))
        return b"".join(part for row in chosen for part in data.cut(start + row, start + row + 1))
    view = memoryview(data)[start * row_bytes : stop * row_bytes]
    if is_whole:
        return bytes(view)
    return np.frombuffer(view, dtype=np.uint8).reshape(stop - start, row_bytes)[list(chosen)].tobytes()


def unknown_among(texts: Sequence[UnknownText], first: int, chosen: Sequence[int]) -> list[UnknownText]:
    """Returns the unknown cells of the chosen rows of a request, with positions among the chosen rows.

    Args:
        texts: unknown cells of the request.
        first: row of the request from which `chosen` counts.
        chosen: positions of the rows.
    """
    places = {first + row: place for place, row in enumerate(chosen)}
    return [text._replace(row=places[text.row]) for text in texts if text.row in places]
