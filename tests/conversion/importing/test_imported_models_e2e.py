"""Foreign models over HTTP: each answers a thousand rows as the original does, from one server over one store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from foreign_models import SKLEARN, TORCH, Foreign, foreign_models
from serving import Server, http_get, http_post, running

import axon

pytestmark = pytest.mark.slow

PROBABILITY_BOUND = 1e-6
VALUE_BOUND = 1e-5
NAMES = (*SKLEARN, *TORCH)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Foreign]]]:
    """A server over all foreign models, and the models with their own answers."""
    folder = tmp_path_factory.mktemp("imported")
    models = dict(foreign_models(folder))
    for name, foreign in models.items():
        published = axon.publish(foreign.model, name=name, store=folder / "store", **foreign.arguments)
        assert str(published) == f"{name}@1"
    with running(folder / "store", folder) as server:
        yield server, models


def cells(rows: pd.DataFrame, names: list[str]) -> list[dict[str, object]]:
    """Returns the rows as JSON objects, with the columns that the model has, and null for a gap."""
    plain = rows[names].astype(object).where(rows[names].notna(), None)
    return plain.to_dict("records")


@pytest.mark.parametrize("name", NAMES)
def test_a_foreign_model_answers_a_thousand_rows_as_the_original_does(
    served: tuple[Server, dict[str, Foreign]], name: str
) -> None:
    server, models = served
    foreign = models[name]
    described = http_get(f"{server.url}/models/{name}").json()
    names = [column["name"] for column in described["columns"]]
    body = {"model": name, "instances": cells(foreign.rows, names)}
    answer = http_post(f"{server.url}/predict", json=body, timeout=60)
    assert answer.status_code == 200, answer.text[:500]
    got = answer.json()
    assert len(got["predictions"]) == len(foreign.rows) == 1_000
    if foreign.probabilities is not None:
        assert np.abs(np.array(got["probabilities"]) - foreign.probabilities).max() <= PROBABILITY_BOUND
    elif "probabilities" in got:  # of a classifier by scores: 1 for the class chosen
        assert {tuple(sorted(shares)) for shares in got["probabilities"]} <= {(0, 1), (0, 0, 1)}
    if isinstance(foreign.predictions[0], float) and foreign.probabilities is None:
        bound = VALUE_BOUND * np.std(foreign.predictions)
        if name in ("poisson", "gamma", "mlp-logarithm"):  # rounding errors of an exponential grow with the value
            bound = VALUE_BOUND * np.maximum(np.std(foreign.predictions), np.abs(foreign.predictions))
        assert (np.abs(np.array(got["predictions"]) - foreign.predictions) <= bound).all()
    else:
        apart = [
            i for i, pair in enumerate(zip(got["predictions"], foreign.predictions, strict=True)) if len({*pair}) > 1
        ]
        assert not apart
        assert {type(label) for label in got["predictions"]} == {type(label) for label in foreign.predictions}


def test_the_server_describes_an_imported_model(served: tuple[Server, dict[str, Foreign]]) -> None:
    server, _ = served
    described = http_get(f"{server.url}/models/mlp-three").json()
    assert described["training"]["imported_from"] == "sklearn.Pipeline"
    assert "MLPClassifier" in described["training"]["original"]
    summary = http_get(f"{server.url}/models/mlp-three/summary", headers={"Accept": "text/plain"})
    assert summary.status_code == 200
    assert "Linear" in summary.text
    assert http_get(f"{server.url}/models").status_code == 200
