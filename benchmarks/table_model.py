"""The model of the table workload: nine columns with categories, dates and gaps, as in real tables.

Only Axon takes such rows; the other servers' models take matrices.
"""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.model import LAYER_SIZES

if TYPE_CHECKING:  # imported only when the model is made, by the tree that serves it
    from models.checkpoint import Checkpoint

TABLE = "table"
_COLOURS = ("red", "green", "blue")
_CITIES = tuple(f"city {i}" for i in range(24))
_FIRST = datetime(2020, 1, 1)


def make_table(rows: int) -> list[dict[str, Any]]:
    """Makes rows, as objects by column name."""
    dice = random.Random(1)
    return [
        {
            "age": dice.randint(18, 90),
            "income": None if dice.random() < 0.1 else round(dice.gauss(0, 1), 4),
            "debt": None if dice.random() < 0.3 else round(dice.gauss(0, 1), 4),
            "score": round(dice.gauss(0, 1), 4),
            "member": dice.choice(("yes", "no")),
            "colour": dice.choice(_COLOURS),
            "city": dice.choice(_CITIES),
            "since": (_FIRST + timedelta(days=dice.randrange(2000))).strftime("%Y-%m-%d"),
            "last_seen": (_FIRST + timedelta(minutes=dice.randrange(3_000_000))).strftime("%Y-%m-%dT%H:%M:00Z"),
        }
        for _ in range(rows)
    ]


def expected_answers(rows: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Computes `(rows, classes)` probabilities one row at a time, by the reference implementation."""
    from models.columns.encoding import RowEncoder

    checkpoint = make_checkpoint()
    encoder, network = RowEncoder(checkpoint.schema), checkpoint.inference_network()
    return np.concatenate([network.forward(encoder.encode_matrix([row])) for row in rows])


def make_checkpoint() -> Checkpoint:
    """Makes the model with weights from a seed."""
    from models.checkpoint import Checkpoint
    from models.columns.schema import CategoricalColumn, ClassTarget, DateColumn, NumericColumn, Schema
    from models.network.config import MLPConfig

    def number(name: str, **changes: Any) -> NumericColumn:
        return NumericColumn(name=name, mean=0.0, std=1.0, minimum=-4.0, maximum=90.0, **changes)

    def date(name: str, **changes: Any) -> DateColumn:
        return DateColumn(name=name, mean=19_000.0, std=600.0, minimum=18_000.0, maximum=21_000.0, **changes)

    schema = Schema(
        columns=(
            number("age"),
            number("income", missing="mean"),
            number("debt", missing="indicator"),
            number("score"),
            CategoricalColumn(name="member", categories=("no", "yes"), encoding="sign"),
            CategoricalColumn(name="colour", categories=_COLOURS),
            CategoricalColumn(name="city", categories=_CITIES),
            date("since", parts=("month", "weekday")),
            date("last_seen", parts=("hour",), missing="indicator"),
        ),
        target=ClassTarget(name="y", labels=("no", "yes")),
    )
    sizes = LAYER_SIZES[TABLE]
    chance = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        tensors[f"layers.{i}.weight"] = chance.normal(0, n_in**-0.5, (n_out, n_in)).astype(np.float32)
        tensors[f"layers.{i}.bias"] = np.zeros(n_out, dtype=np.float32)
    return Checkpoint(config=MLPConfig(layer_sizes=sizes), schema=schema, tensors=tensors)
