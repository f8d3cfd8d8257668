"""A client gets the same answers as `predict` in a notebook: values in the target's unit, labels as in the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from serving import Server, http_get, http_post, running
from sklearn.metrics import r2_score

from models.store import Store
from training.fit import fit
from training.fitted_model import FittedModel

OFFSETS = (0.0, 1e3, 1e6, 1e8, 1.7e9, 1e12)
LABELS: dict[str, list[Any]] = {
    "whole": [1, 0, 10],
    "pointed": [1.5, 0.0, 10.0],
    "truth": [True, False],
    "digits": ["1", "0", "10"],
    "words": ["True", "False", "naïve"],
}
SETTINGS: dict[str, Any] = {
    "engine": "numpy",
    "recipe": "classic",
    "hidden_sizes": (16,),
    "epochs": 30,
    "batch_size": 16,
    "normalization": "none",
}


def far_frame(offset: float) -> pd.DataFrame:
    x = np.random.default_rng(0).normal(size=(300, 2))
    y = np.round((np.sin(x[:, 0]) + 0.5 * x[:, 1]) * 1024) / 1024  # multiples of 1/1024, exact with any offset
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": offset + y})


def labelled_frame(labels: list[Any]) -> pd.DataFrame:
    place = np.arange(90) % len(labels)
    x = np.random.default_rng(1).normal(size=(90, 2)) / 5
    x[:, 0] += place
    return pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": [labels[i] for i in place]})


@pytest.fixture(scope="module")
def models() -> dict[str, FittedModel]:
    far = {f"far-{offset:g}".replace("+", ""): far_frame(offset) for offset in OFFSETS}
    labelled = {name: labelled_frame(labels) for name, labels in LABELS.items()}
    return {name: fit(frame, target="y", name=name, **SETTINGS) for name, frame in far.items()} | {
        name: fit(frame, target="y", task="classification", name=name, **SETTINGS) for name, frame in labelled.items()
    }


@pytest.fixture(scope="module")
def server(models: dict[str, FittedModel], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("answers")
    store = Store(folder / "store")
    for model in models.values():
        model.publish(store)
    with running(store.root, folder) as started:
        yield started


def asked(server: Server, name: str, rows: list[list[float]]) -> dict[str, Any]:
    answer = http_post(f"{server.url}/predict", json={"model": name, "instances": rows})
    assert answer.status_code == 200, answer.text
    return dict(json.loads(answer.content))


@pytest.mark.parametrize("size", [1, 7, 300], ids=lambda size: f"{size} rows a request")
def test_a_target_far_from_zero_is_served_as_well_as_near_zero(
    server: Server, models: dict[str, FittedModel], size: int
) -> None:
    served = {}
    for (name, model), offset in zip(list(models.items()), OFFSETS, strict=False):
        frame = far_frame(offset)
        rows = frame[["a", "b"]].values.tolist()
        values = [
            v
            for at in range(0, 60 if size == 1 else 300, size)
            for v in asked(server, name, rows[at : at + size])["predictions"]
        ]
        truth = frame["y"].to_numpy()[: len(values)] - offset
        served[offset] = np.array(values) - offset
        assert r2_score(truth, served[offset]) > 0.7
        np.testing.assert_allclose(served[offset], served[0.0], atol=1e-3 + 10 * np.spacing(offset))
        # One forward pass of NumPy and one of torch differ by float32 roundings, relative to the target's spread.
        np.testing.assert_allclose(values, model.predict(rows[: len(values)]), rtol=1e-15, atol=1e-5)


def test_small_values_keep_the_short_texts_of_float32(server: Server) -> None:
    answer = http_post(f"{server.url}/predict", json={"model": "far-0", "instances": [[0.1, 0.2]]})
    [value] = answer.json()["predictions"]
    text = answer.text.partition('"predictions":[')[2].partition("]")[0]
    assert text == str(np.float32(value)), "as many digits as float32 has"


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("rows", [1, 5, 90])
def test_predictions_are_labels_of_the_tables_type(
    server: Server, models: dict[str, FittedModel], name: str, rows: int
) -> None:
    frame = labelled_frame(LABELS[name])
    cells = frame[["a", "b"]].values.tolist()[:rows]
    answer = asked(server, name, cells)
    assert set(answer) == {"model", "version", "predictions", "probabilities"}
    detail = http_get(f"{server.url}/models/{name}").json()
    assert repr(detail["classes"]) == repr(sorted(LABELS[name]))
    assert "labels" not in detail
    most_probable = [detail["classes"][int(np.argmax(row))] for row in answer["probabilities"]]
    assert repr(answer["predictions"]) == repr(most_probable)
    assert repr(answer["predictions"]) == repr(models[name].predict(cells))
    right = [
        a is b or (type(a) is type(b) and a == b)
        for a, b in zip(answer["predictions"], frame["y"].tolist(), strict=False)
    ]
    assert np.mean(right) > 0.8
