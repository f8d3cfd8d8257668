"""Rows of one model version in the log of predictions, and their records in a spool."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.columns.unknown_texts import UnknownText
from models.errors import DataError
from models.prediction_log.cells import LoggedCells, decoded_columns
from models.prediction_log.logged_version import LoggedVersion
from models.prediction_log.spool import read_records, record


@dataclass(kw_only=True, eq=False)
class LoggedRows:
    """Rows of one model version.

    Attributes:
        version: model version that answered.
        times: `(rows,)` times of the answers, in seconds since 1970.
        request_ids: identifiers of the requests, one for each row.
        places: `(rows,)` positions of the rows in their requests, or in the calls that were cut into requests.
        asked: references of the models in the requests, one for each row; None for the default model.
        members: numbers of members of the ensemble that answered, one for each row; None for all.
        columns: cells of the logged columns.
        answers: `(rows, outputs)` float32 answers, without the target's origin.
    """

    version: LoggedVersion
    times: NDArray[np.float64]
    request_ids: list[str]
    places: NDArray[np.int32]
    asked: list[str | None]
    members: list[int | None]
    columns: list[LoggedCells]
    answers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.request_ids)

    def taken(self, rows: NDArray[np.intp]) -> LoggedRows:
        """Returns some of the rows."""
        places = rows.tolist()
        return LoggedRows(
            version=self.version,
            times=self.times[rows],
            request_ids=[self.request_ids[row] for row in places],
            places=self.places[rows],
            asked=[self.asked[row] for row in places],
            members=[self.members[row] for row in places],
            columns=[
                [cells[row] for row in places] if isinstance(cells, list) else cells[rows] for cells in self.columns
            ],
            answers=self.answers[rows],
        )

    def values(self) -> NDArray[Any]:
        """Returns the answers in their units: `(rows, classes)` probabilities or `(rows, targets)` values."""
        origin = self.version.origin
        return self.answers.astype(np.float64) + origin if np.any(origin) else self.answers


@dataclass(kw_only=True)
class EncodedRows:
    """Encoded rows of one model version, for a record.

    Attributes:
        times, request_ids, places, asked, members, answers: those of `LoggedRows`.
        rows: `(rows, width)` encoded rows of the logged columns.
        unknown: texts of cells with unknown categories.
    """

    times: NDArray[np.float64]
    request_ids: Sequence[str]
    places: NDArray[np.int32]
    asked: Sequence[str | None]
    members: Sequence[int | None]
    rows: NDArray[np.float32]
    answers: NDArray[np.float32]
    unknown: Sequence[UnknownText] = field(default_factory=tuple)


def version_record(number: int, version: LoggedVersion) -> bytes:
    """Returns the record of a model version, which precedes those of its rows.

    Args:
        number: number of the version within the spool.
        version: model version.
    """
    return record({"kind": "version", "number": number} | version.to_dict())


def rows_record(number: int, rows: EncodedRows) -> bytes:
    """Returns the record of rows.

    Args:
        number: number of the version within the spool.
        rows: rows of the version.
    """
    description = {
        "kind": "rows",
        "number": number,
        "rows": len(rows.request_ids),
        "request_ids": rows.request_ids,
        "asked": rows.asked if any(one is not None for one in rows.asked) else None,
        "members": rows.members if any(one is not None for one in rows.members) else None,
        "unknown": list(map(list, rows.unknown)),
    }
    blocks = (
        rows.times.astype("<f8").tobytes(),
        rows.places.astype("<i4").tobytes(),
        rows.rows.astype("<f4").tobytes(),
        rows.answers.astype("<f4").tobytes(),
    )
    return record(description, blocks)


def read_spool(data: bytes) -> list[LoggedRows]:
    """Returns the rows of each version of a spool, in the order of the versions' numbers.

    Raises:
        DataError: the data is no spool, or of a later Axon.
    """
    versions: dict[int, LoggedVersion] = {}
    found: dict[int, list[LoggedRows]] = {}
    for description, blocks in read_records(data):
        number = int(description["number"])
        if description["kind"] == "version":
            versions[number] = LoggedVersion.from_dict(description)
            found[number] = []
        elif description["kind"] == "rows":
            if number not in versions:
                raise DataError("has rows of a model version that it does not describe.")
            found[number].append(_rows(versions[number], description, blocks))
    return [joined(parts) for parts in found.values() if parts]


def joined(parts: Sequence[LoggedRows]) -> LoggedRows:
    """Joins one or more parts of one version into one part."""
    if len(parts) == 1:
        return parts[0]
    return LoggedRows(
        version=parts[0].version,
        times=np.concatenate([part.times for part in parts]),
        request_ids=list(_chained(part.request_ids for part in parts)),
        places=np.concatenate([part.places for part in parts]),
        asked=list(_chained(part.asked for part in parts)),
        members=list(_chained(part.members for part in parts)),
        columns=[_joined_cells([part.columns[at] for part in parts]) for at in range(len(parts[0].version.columns))],
        answers=np.concatenate([part.answers for part in parts]),
    )


def _joined_cells(parts: Sequence[LoggedCells]) -> LoggedCells:
    if isinstance(parts[0], list):
        return list(_chained(parts))
    return np.concatenate([np.asarray(part) for part in parts])


def _chained(parts: Iterable[Iterable[Any]]) -> Iterator[Any]:
    for part in parts:
        yield from part


def _rows(version: LoggedVersion, description: dict[str, Any], blocks: memoryview) -> LoggedRows:
    rows = int(description["rows"])
    sizes = (8 * rows, 4 * rows, 4 * rows * version.width, 4 * rows * version.outputs)
    if sum(sizes) != len(blocks):
        raise DataError("has a record whose numbers do not fit its model version.")
    types = ("<f8", "<i4", "<f4", "<f4")
    arrays, at = [], 0
    for size, type_ in zip(sizes, types, strict=True):
        arrays.append(np.frombuffer(blocks[at : at + size], dtype=type_))
        at += size
    columns = decoded_columns(version.columns, arrays[2].reshape(rows, version.width))
    for row, column, text in description["unknown"]:
        cells = columns[column]
        assert isinstance(cells, list)  # noqa: S101 -- only columns of categories have unknown texts
        cells[row] = text
    nothing = [None] * rows
    return LoggedRows(
        version=version,
        times=arrays[0],
        request_ids=description["request_ids"],
        places=arrays[1],
        asked=description["asked"] or list(nothing),
        members=description["members"] or list(nothing),
        columns=columns,
        answers=arrays[3].reshape(rows, version.outputs),
    )
