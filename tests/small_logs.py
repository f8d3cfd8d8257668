"""A small log of predictions: rows of one column and answers, in the form in which a server writes spools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from serving import numeric

from models.columns.column import Column
from models.columns.encoding import NamedColumns, RowEncoder
from models.columns.labels import Label
from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.prediction_log.folder import SPOOLS, new_spool
from models.prediction_log.logged_rows import EncodedRows, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion
from models.prediction_log.spool import MAGIC

DAY = 1.78e9


def log_rows(
    folder: Path,
    cells: Sequence[object],
    answers: Sequence[int],
    *,
    column: Column | None = None,
    labels: tuple[Label, ...] = ("no", "yes"),
    members: Sequence[int | None] | None = None,
    request_ids: Sequence[str] | None = None,
    places: Sequence[int] | None = None,
    number: int = 1,
    target: NumericTarget | None = None,
) -> Path:
    """Appends a spool whose writer has ended to a log; returns the spool.

    Args:
        folder: folder of the log.
        cells: cells of the column `id`, as a client sent them.
        answers: `(rows,)` places of the predicted labels, or predicted values.
        column: column of the cells; None for plain numbers.
        labels: labels of the classes.
        members: number of members that answered each row; None for all members.
        request_ids: request id of each row; None for `r0`, `r1`, ….
        places: row number of each row; None for 0.
        number: number of the model version.
        target: target of a regressor; None for a classifier.
    """
    schema = Schema(columns=(column or numeric("id"),), target=target or ClassTarget(name="left", labels=labels))
    version = LoggedVersion(
        name="small",
        version=number,
        digest="d",
        columns=schema.columns,
        left_out=0,
        target=schema.target,
        has_probabilities=target is None,
    )
    rows = len(cells)
    one_hot = np.eye(len(labels), dtype=np.float32)
    encoded = RowEncoder(schema).encode_any(NamedColumns({schema.columns[0].name: list(cells)}, rows))
    part = EncodedRows(
        times=DAY + np.arange(rows),
        request_ids=list(request_ids or [f"r{row}" for row in range(rows)]),
        places=np.array(places or [0] * rows, np.int32),
        asked=[None] * rows,
        members=list(members or [None] * rows),
        rows=np.frombuffer(encoded, "<f4").reshape(rows, -1),
        answers=one_hot[list(answers)] if target is None else np.array(answers, np.float32)[:, np.newaxis],
    )
    (folder / SPOOLS).mkdir(parents=True, exist_ok=True)
    spool = new_spool(folder, "api-0")
    spool.write_bytes(MAGIC + version_record(0, version) + rows_record(0, part))
    return spool
