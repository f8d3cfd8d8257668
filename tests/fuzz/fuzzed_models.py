"""The models of the fuzzed servers, the key of the locked server, and the time limit of a fuzzer."""

from __future__ import annotations

import os
from dataclasses import replace
from hashlib import sha256
from typing import Any

from serving import CHECKPOINTS, Server, http_get, make_checkpoint, numeric

from models.columns.schema import CategoricalColumn, ClassTarget, Schema
from models.conformal import Conformal

# Time-limited fuzzers stop after this many seconds; those that count examples make a proportional number.
FUZZ_SECONDS = int(os.environ.get("AXON_FUZZ_SECONDS", "30"))

_SPECIES = ("setosa", "versicolor", "virginica")
_SCHEMAS = {
    # As in the document's own examples.
    "iris": Schema(
        columns=tuple(numeric(f"{part}_{side}") for part in ("sepal", "petal") for side in ("length", "width")),
        target=ClassTarget(name="species", labels=_SPECIES),
    ),
    "xor": Schema(columns=(numeric("x1"), numeric("x2")), target=ClassTarget(name="y", labels=("0", "1"))),
    # Any row of one cell is valid here, so bodies generated from the document alone reach a forward pass.
    "anything": Schema(
        columns=(CategoricalColumn(name="0", categories=("null",), unknown="ignore", missing="ignore"),),
        target=ClassTarget(name="y", labels=("no", "yes")),
    ),
}
DEFAULT_MODEL = "anything"
MODELS = CHECKPOINTS | {name: make_checkpoint(schema, 8) for name, schema in _SCHEMAS.items()}
# An example of the document asks for sets of labels, which need scores of calibration rows.
MODELS["iris"] = replace(
    MODELS["iris"], conformal=Conformal.from_dict({"rows": 40, "scores": [i / 40 for i in range(40)]})
)

SECRET = "axon_of-no-value"
KEY = f"fuzzer:predict,read,manage:{sha256(SECRET.encode()).hexdigest()}"


def document(server: Server) -> dict[str, Any]:
    """Returns the OpenAPI document."""
    answer: dict[str, Any] = http_get(f"{server.url}/openapi.json").json()
    return answer
