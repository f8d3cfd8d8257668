"""The training of a model version as a document: distributions of the columns, history, metrics and model card."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from models.columns.column import CategoricalColumn, DateColumn
from models.columns.dates import iso
from models.columns.labels import Label
from models.columns.schema import ClassTarget, Column
from models.distributions.distributions import (
    CategoryCounts,
    Counts,
    Distributions,
    prediction_kind,
    prediction_names,
)
from models.errors import DataError, StoreError
from models.model_version import CARD_FILE, ModelVersion
from models.signatures.trust import Signed
from service.batching.served_version import ServedVersion
from service.http.network_schemas import DistributionInTraining, TrainingResponse
from service.model_figures import histories_of, numbers_of, time_text

_MOST_CARD_BYTES = 1 << 19


def training_document(served: ServedVersion) -> TrainingResponse:
    """Returns the document of a version. Takes about 30 ms for a thousand columns.

    Args:
        served: model version, whose folder in the store may have a model card.
    """
    header = served.header
    training, metrics = _section(header, "training"), _section(header, "metrics")
    distributions = _distributions(served)
    columns = None if distributions is None else _columns(served, distributions)
    best = training.get("best_epoch")
    return TrainingResponse(
        model=served.name,
        version=served.version,
        published=time_text(served.identity.modified_ns),
        rows=None if distributions is None else distributions.rows,
        best_epoch=best if type(best) is int else None,
        history=histories_of(training.get("history")),
        metrics={part: numbers for part, figures in metrics.items() if (numbers := numbers_of(figures))},
        columns=columns,
        columns_left_out=0 if columns is None else len(served.schema.columns) - len(columns),
        predictions=None if distributions is None else _predictions(served, distributions),
        card=read_card(served.place, served.signed),
    )


def read_card(version: ModelVersion, signed: Signed | None = None) -> str | None:
    """Reads the model card of a version; returns None if there is none, or none that may be shown.

    Args:
        version: version in a store.
        signed: verified signature of the version; None to show a card that is not signed.
    """
    try:
        content = version.read_page(CARD_FILE, _MOST_CARD_BYTES)
    except (OSError, StoreError):
        return None
    if content is None or (signed is not None and signed.resources.get(CARD_FILE) != sha256(content).hexdigest()):
        return None
    return content.decode(errors="replace")


def _section(header: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Returns a section of a header; empty if the section is no object."""
    section = header.get(name)
    return section if isinstance(section, Mapping) else {}


def _distributions(served: ServedVersion) -> Distributions | None:
    """Returns the distributions of a version; None if the checkpoint has none, or damaged ones."""
    if served.distributions is None:
        return None
    try:
        return Distributions.from_dict(orjson.loads(zlib.decompress(served.distributions)), served.schema)
    except DataError:
        return None


def _columns(served: ServedVersion, distributions: Distributions) -> list[DistributionInTraining]:
    return [
        _distribution(column.name, column.kind, counts, _names(column), _range(column), is_date=_is_date(column))
        for column, counts in zip(served.schema.columns, distributions.columns, strict=False)
    ]


def _predictions(served: ServedVersion, distributions: Distributions) -> list[DistributionInTraining]:
    target = served.schema.target
    labels: Sequence[Label] = target.labels if isinstance(target, ClassTarget) else ()
    ranges: dict[str, tuple[float | None, float | None]] = {}
    if labels:
        ranges["confidence"] = (1 / len(labels), 1.0)  # the most probable class has at least an equal share
    else:
        names = prediction_names(served.schema)
        ranges |= {name: (one.minimum, one.maximum) for name, one in zip(names, served.schema.values, strict=True)}
    return [
        _distribution(name, prediction_kind(served.schema, name), counts, labels, ranges.get(name, (None, None)))
        for name, counts in distributions.predictions.items()
    ]


def _distribution(
    name: str,
    kind: str,
    counts: Counts,
    names: Sequence[Label],
    limits: tuple[float | None, float | None],
    *,
    is_date: bool = False,
) -> DistributionInTraining:
    """Returns the description of one distribution.

    Args:
        name: name of the column or of the kind of prediction.
        kind: kind of the column or of the prediction.
        counts: counts by bin.
        names: names of all categories or classes; empty for numbers.
        limits: smallest and greatest value; None where it is not known.
        is_date: True if numbers are days since 1970-01-01.
    """
    edges: list[Any] | None = None
    categories: list[Label | None] | None = None
    if isinstance(counts, CategoryCounts):
        known: list[Label | None] = [names[at] for at in counts.categories]
        categories = known + [None] * (len(counts.counts) - len(known))
    else:
        edges = [iso(edge) for edge in counts.edges] if is_date else list(counts.edges)
    low, high = (iso(limit) if is_date and limit is not None else limit for limit in limits)
    return DistributionInTraining(
        name=name,
        kind=kind,
        edges=edges,
        minimum=low,
        maximum=high,
        categories=categories,
        counts=list(counts.counts),
        gaps=counts.gaps,
    )


def _names(column: Column) -> Sequence[Label]:
    return column.categories if isinstance(column, CategoricalColumn) else ()


def _range(column: Column) -> tuple[float | None, float | None]:
    return (None, None) if isinstance(column, CategoricalColumn) else (column.minimum, column.maximum)


def _is_date(column: Column) -> bool:
    return isinstance(column, DateColumn)
