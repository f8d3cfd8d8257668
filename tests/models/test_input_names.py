"""Names of features and inputs, against the encoder and the input stage of torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from serving import numeric

from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
from models.input_names import feature_names, input_names
from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from models.network.mlp import MLP

TARGET = ClassTarget(name="y", labels=("no", "yes"))
DATE = DateColumn(name="day", mean=0.0, std=1.0, minimum=0.0, maximum=9.0, parts=("month", "hour"), missing="indicator")
SCHEMA = Schema(
    columns=(
        NumericColumn(name="age", mean=0, std=1, minimum=0, maximum=9, missing="indicator"),
        CategoricalColumn(name="city", categories=("Rome", "Oslo"), unknown="ignore", missing="ignore"),
        CategoricalColumn(name="side", categories=("left", "right"), encoding="sign"),
        DATE,
        CategoricalColumn(name="street", categories=("a", "b", "c"), encoding="index"),
    ),
    target=TARGET,
)


def encoded(row: dict[str, Any]) -> dict[str, float]:
    """Returns the features of a row by name."""
    values = RowEncoder(SCHEMA).encode_matrix([row])[0].tolist()
    return dict(zip(feature_names(SCHEMA), values, strict=True))


def test_each_name_belongs_to_the_number_that_the_encoder_makes_of_the_cell() -> None:
    row = {"age": 5, "city": "Oslo", "side": "right", "day": "1970-04-01T06:00", "street": "b"}
    found = encoded(row)
    assert found["age"] == 5
    assert (found["age is missing"], found["day is missing"]) == (0, 0)
    assert (found["city = Rome"], found["city = Oslo"]) == (0, 1)
    assert (found["side"], found["street"]) == (1, 2)
    assert found["day"] == 90.25  # days since 1970
    assert (found["day (month, sine)"], found["day (hour, sine)"], found["day (hour, cosine)"]) == (1, 1, 0)
    gaps = encoded(row | {"age": None, "city": None, "day": None})
    assert (gaps["age is missing"], gaps["day is missing"], gaps["city = Oslo"]) == (1, 1, 0)


def test_inputs_are_named_in_the_order_of_the_input_stage() -> None:
    inputs = InputConfig(numbers=(0, 2), flags=(3,), indices=(1,), categories=(3,), frequencies=4, periodic_size=2)
    schema = Schema(
        columns=(
            numeric("a"),
            CategoricalColumn(name="b", categories=("x", "y", "z"), encoding="index"),
            numeric("c"),
            CategoricalColumn(name="d", categories=("x", "y"), encoding="sign"),
        ),
        target=TARGET,
    )
    names = list(input_names(schema, inputs))
    config = MLPConfig(layer_sizes=(4, 3, 2), inputs=inputs)
    assert len(names) == config.linear_sizes[0]
    stage = MLP(config, generator=torch.Generator().manual_seed(0)).inputs
    assert stage is not None

    def moved(feature: int, value: float) -> set[str]:
        """Returns the names of the inputs that change with a feature."""
        row = torch.zeros(1, 4)
        before = stage(row)[0].detach().numpy()
        row[0, feature] = value
        after = stage(row)[0].detach().numpy()
        return {names[at] for at in np.flatnonzero(before != after)}

    assert moved(0, 0.7) == {"a", "a (periodic 1)", "a (periodic 2)"}
    assert moved(2, 0.7) == {"c", "c (periodic 1)", "c (periodic 2)"}
    assert moved(3, 1.0) == {"d"}
    assert moved(1, 2.0) <= {f"b (embedding {place})" for place in range(1, 9)}
    assert moved(1, 2.0)
