"""The answers to the parts of a call's rows: read from each wire format, and joined in order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import numpy as np
import orjson
from numpy.typing import NDArray

from axon.client import json_rows, open_inference
from axon.client.errors import ServerFailed
from axon.client.steps import Reply
from models.columns.labels import Label

CELLS_HEADER, COLUMNS_HEADER = "x-axon-unknown-categories", "x-axon-unknown-columns"
_COLUMN = re.compile(r"([^=,\s]+)=(\d{1,18})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class PartAnswer:
    """The answer to some rows.

    Attributes:
        model, version: version that answered.
        predictions: label or value of each row; list of values of each row for several targets.
        probabilities: `(rows, classes)` float32; None for a regressor.
        intervals: `(rows, 2)` float64 bounds, `(rows, targets, 2)` for several targets; None if not asked for.
        sets: labels of each row's set; None if they were not asked for.
        unknown: number of cells with unknown categories, by column.
        unknown_cells: number of all such cells.
    """

    model: str
    version: int
    predictions: list[Any]
    probabilities: NDArray[np.float32] | None
    intervals: NDArray[np.float64] | None = None
    sets: list[list[Label]] | None = None
    unknown: Mapping[str, int] = field(default_factory=dict)
    unknown_cells: int = 0


def of_json(reply: Reply, rows: int, request_id: str) -> PartAnswer:
    """Returns the answer of `/predict` to a number of rows.

    Raises:
        ServerFailed: the answer is not one to these rows.
    """
    try:
        answer = json_rows.read_answer(reply.body)
    except json_rows.NotAnAnswer as error:
        raise _unreadable(str(error), reply, request_id) from None
    return _checked(reply, rows, request_id, answer)


def of_open_inference(reply: Reply, rows: int, labels: Sequence[Label], request_id: str) -> PartAnswer:
    """Returns the answer of the Open Inference Protocol to a number of rows.

    Args:
        reply: answer of the server.
        rows: number of rows.
        labels: labels of the classes, whose types the protocol may lack; empty if they are not known.
        request_id: identifier of the call.

    Raises:
        ServerFailed: the answer is not one to these rows.
    """
    length = reply.headers.get(open_inference.LENGTH_HEADER.lower())
    try:
        json_bytes = None if length is None else int(length)
        model, version, outputs = open_inference.read_answer(reply.body, json_bytes)
        predictions = _predictions(outputs["predictions"], labels)
        probabilities = outputs.get("probabilities")
        if probabilities is not None:
            probabilities = np.asarray(probabilities, dtype=np.float32).reshape(rows, -1)
        answer = json_rows.JsonAnswer(model, int(version), predictions, probabilities, None, None)
        return _checked(reply, rows, request_id, answer)
    except (open_inference.NotOpenInference, KeyError, ValueError) as error:
        raise _unreadable(str(error), reply, request_id) from None


def joined(answers: Sequence[PartAnswer]) -> PartAnswer:
    """Returns the answers to consecutive parts as one.

    Args:
        answers: answers of one version, in the order of the rows; at least one.
    """
    first = answers[0]
    if len(answers) == 1:
        return first
    unknown: dict[str, int] = {}
    for answer in answers:
        for column, cells in answer.unknown.items():
            unknown[column] = unknown.get(column, 0) + cells
    matrices = [answer.probabilities for answer in answers if answer.probabilities is not None]
    bounds = [answer.intervals for answer in answers if answer.intervals is not None]
    sets = [row for answer in answers for row in answer.sets or ()]
    return PartAnswer(
        model=first.model,
        version=first.version,
        predictions=[prediction for answer in answers for prediction in answer.predictions],
        probabilities=np.concatenate(matrices) if matrices else None,
        intervals=np.concatenate(bounds) if bounds else None,
        sets=sets or None,
        unknown=unknown,
        unknown_cells=sum(answer.unknown_cells for answer in answers),
    )


def _checked(reply: Reply, rows: int, request_id: str, answer: json_rows.JsonAnswer) -> PartAnswer:
    if not answer.has_rows(rows):
        raise _unreadable(f"{len(answer.predictions):,} predictions for {rows:,} rows", reply, request_id)
    columns = _COLUMN.findall(reply.headers.get(COLUMNS_HEADER, ""))
    cells = reply.headers.get(CELLS_HEADER, "0")
    return PartAnswer(
        model=answer.model,
        version=answer.version,
        predictions=answer.predictions,
        probabilities=answer.probabilities,
        intervals=answer.intervals,
        sets=answer.sets,
        unknown={unquote(column): int(count) for column, count in columns},
        unknown_cells=int(cells) if cells.isdecimal() else 0,
    )


def _predictions(output: open_inference.Tensor, labels: Sequence[Label]) -> list[Any]:
    """Returns labels, values, or lists of the values of several targets as in an answer in JSON.

    A float32 becomes the float with the shortest decimal digits, as in JSON: 0.1, not 0.10000000149011612. So answers
    do not depend on the wire format.
    """
    if isinstance(output, list):
        if labels and not isinstance(labels[0], str):  # whole numbers of which no datatype holds all
            by_text = {str(label): label for label in labels}
            return [by_text[text] for text in output]
        return list(output)
    if output.ndim != 2 or output.shape[1] == 1:
        output = output.reshape(-1)
    values: list[Any] = output.tolist()
    if output.dtype == np.float32:
        values = orjson.loads(orjson.dumps(np.ascontiguousarray(output), option=orjson.OPT_SERIALIZE_NUMPY))
    return values


def _unreadable(reason: str, reply: Reply, request_id: str) -> ServerFailed:
    return ServerFailed(
        f"The answer is not one of an Axon server: {reason}.",
        status=reply.status,
        request_id=reply.headers.get("x-request-id", request_id),
    )
