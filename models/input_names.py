"""Names for people of the numbers that a network reads: features of an encoded row, and inputs of the first Linear."""

from __future__ import annotations

from collections.abc import Iterator

from models.columns.column import CategoricalColumn, Column, DateColumn
from models.columns.schema import Schema
from models.network.inputs import InputConfig


def feature_names(schema: Schema) -> Iterator[str]:
    """Yields a name for each feature of an encoded row, in order."""
    for column in schema.columns:
        yield from _of_column(column)


def input_names(schema: Schema, inputs: InputConfig | None) -> Iterator[str]:
    """Yields a name for each input of the first Linear, in order.

    Args:
        schema: columns of the model.
        inputs: input stage of the network; None if the first Linear reads the encoded row.
    """
    if inputs is None:
        yield from feature_names(schema)
        return
    names = list(feature_names(schema))
    numbers = [names[at] for at in inputs.numbers]
    yield from numbers
    if inputs.frequencies:
        for name in numbers:
            yield from (f"{name} (periodic {place})" for place in range(1, inputs.periodic_size + 1))
    yield from (names[at] for at in inputs.flags)
    for at in inputs.indices:
        yield from (f"{names[at]} (embedding {place})" for place in range(1, inputs.embedding_size + 1))


def _of_column(column: Column) -> Iterator[str]:
    if isinstance(column, CategoricalColumn):
        if column.encoding == "one_hot":
            yield from (f"{column.name} = {category}" for category in column.categories)
        else:
            yield column.name
        return
    yield column.name
    if isinstance(column, DateColumn):
        for part in column.parts:
            yield f"{column.name} ({part}, sine)"
            yield f"{column.name} ({part}, cosine)"
    if column.missing == "indicator":
        yield f"{column.name} is missing"
