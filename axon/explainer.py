"""Explanations in the caller's process, with the same numbers as the server's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from axon.explanations import Explanations
from models.answering import Answerer
from models.columns.encoding import RowEncoder
from models.columns.frame_rows import rows_of
from models.columns.labels import Label
from models.errors import DataError
from models.explaining.background import Background, background_of
from models.explaining.document import Explanation, cells_of, explanation_document
from models.explaining.explained_output import ExplainedOutput, checked_label, explained_label
from models.explaining.shapley import (
    DEFAULT_SAMPLES,
    Kind,
    Players,
    Shapley,
    checked_samples,
    feature_columns,
    shapley_of,
)

_NUMBERS_AT_A_TIME = 1 << 22  # 16 MB of encoded rows


def explain_rows(
    answerer: Answerer,
    reference: str,
    rows: Any,
    *,
    background: Any = None,
    output: Label | None = None,
    scale: str | None = None,
    kind: Kind | None = None,
    samples: int = DEFAULT_SAMPLES,
) -> Explanations:
    """Explains rows with the network of a checkpoint.

    Args:
        answerer: answerer of the checkpoint.
        reference: name of the model.
        rows: data frame, Arrow table, array or list (`models.columns.frame_rows.rows_of`).
        background: rows to compare with, of the same types; None for those of the checkpoint.
        output: label whose probability is explained, or one of several targets; None for the predicted label of each
            row, or the first target.
        scale: `probability` or `logit`, for a classifier; None for the probability.
        kind: `exact` or `sampled`; None for exact wherever possible.
        samples: number of orders of a sampled explanation.

    Raises:
        RowError: cells are not valid for the model; the message names row and column.
        DataError: `rows` or `background` is no table, or lacks one of the columns.
        ConfigError: the model has no such output, or a row has too many columns for `exact`.
    """
    checkpoint = answerer.checkpoint
    schema, encoder = checkpoint.schema, RowEncoder(checkpoint.schema)
    checked_label(schema, checkpoint.config.has_probabilities, output, scale)
    checked_samples(samples)
    given = rows_of(rows, schema.names, categorical=schema.categorical, numeric=schema.numeric)
    if background is None:
        compared = background_of(schema, encoder, checkpoint.data)
    else:
        others = rows_of(background, schema.names, categorical=schema.categorical, numeric=schema.numeric)
        if not len(others):
            raise DataError("background has no rows: leave it out, or give one or more.")
        compared = Background("request", encoder.encode_matrix(others))
    encoded = encoder.encode_matrix(given) if len(given) else np.empty((0, schema.width), dtype=np.float32)
    answerer.unknown = encoder.unknown.take()
    column_of, labels = feature_columns(schema), answerer.classes
    documents = []
    for at, (row, cells) in enumerate(zip(encoded, given, strict=True)):
        shapley = shapley_of(Players(row, compared.rows, column_of), samples=samples, kind=kind)
        answers = answerer.finite_answer(row[None], first=at)
        predicted = answerer.labelled(answers)[0]
        explained = ExplainedOutput(
            schema, explained_label(schema, output, predicted if labels else None), logit=scale == "logit"
        )
        outputs = _outputs(answerer, shapley, explained, schema.width)
        if not np.isfinite(outputs).all():
            raise DataError(f"row {at}: its answer is not finite with some of its cells replaced by the background's.")
        found = shapley.contributions(outputs)
        explanation = Explanation(predicted, shapley.kind, explained, found)
        documents.append(explanation_document(schema, cells_of(schema, cells, encoder.find_name), explanation))
    name = "value" if not labels else "logit" if scale == "logit" else "probability"
    return Explanations(reference, None, name, compared.source, documents)


def _outputs(answerer: Answerer, shapley: Shapley, output: ExplainedOutput, width: int) -> NDArray[np.float64]:
    """Returns the outputs for all rows of a question, `(evaluations,)`, without the origin."""
    size = max(1, _NUMBERS_AT_A_TIME // width)
    parts = []
    for start in range(0, shapley.evaluations, size):
        answers = answerer.answer(shapley.rows(start, min(start + size, shapley.evaluations)))
        parts.append(output.of(answers) - output.origin)
    return np.concatenate(parts)
