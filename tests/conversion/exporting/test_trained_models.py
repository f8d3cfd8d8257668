"""Models of every engine and recipe go out and answer as a real server does, over HTTP, on a thousand rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from export_cases import feed, onnx_session, run_onnx, standalone
from serving import Server, http_post, running

import axon
from models.checkpoint import Checkpoint
from models.columns.schema import ClassTarget
from models.store import Store

pytestmark = pytest.mark.slow

ROWS = 1000
SMALL: dict[str, Any] = {"epochs": 3, "hidden_sizes": (16, 8)}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "default-classes": ("buys", SMALL),
    "default-numbers": ("bool", SMALL),
    "default-values": ("price", SMALL),
    "default-far-values": ("moment", SMALL),
    "classic-classes": ("buys", {"recipe": "classic", **SMALL}),
    "classic-values": ("price", {"recipe": "classic", **SMALL}),
    "layer-norm": ("buys", {"recipe": "classic", "normalization": "layer", "activation": "gelu", **SMALL}),
    "ensemble-classes": ("rank", {"members": 3, **SMALL}),
    "counts": ("visits", {"metric": "poisson", **SMALL}),
    "durations": ("wait", {"metric": "gamma", "members": 2, **SMALL}),
    "ensemble-values": ("price", {"members": 2, **SMALL}),
    "numpy-classes": ("buys", {"engine": "numpy", **SMALL}),
    "numpy-values": ("price", {"engine": "numpy", **SMALL}),
    "perceptron": ("bool", {"engine": "perceptron", "epochs": 3}),
    "linear-classes": ("rank", {"engine": "linear"}),
    "linear-values": ("moment", {"engine": "linear"}),
}


def people(rows: int, seed: int) -> pd.DataFrame:
    """Makes a table with numbers, names (few and many), truth values and dates, gaps in most, and a far number."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "height": rng.normal(170, 9, rows),
            "town": rng.choice(["Ulm", "Bonn", "Kiel"], rows).astype(object),
            "street": rng.choice([f"street {i}" for i in range(30)], rows).astype(object),
            "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 1500 * 24, rows), unit="h"),
            "member": (rng.random(rows) < 0.5).astype(object),
            "seen": 1.7e9 + rng.normal(0, 900, rows).round(),
        }
    )
    points = (
        frame["age"] / 20 + (frame["town"] == "Kiel") + frame["joined"].dt.month / 6 + (frame["seen"] - 1.7e9) / 900
    )
    frame["buys"] = np.where(points > points.median(), "yes", "no")
    frame["bool"] = points > points.median()
    frame["rank"] = pd.qcut(points, 3, labels=False)
    frame["price"] = points * 40 + rng.normal(0, 5, rows)
    frame["visits"] = rng.poisson(points - points.min())
    frame["wait"] = np.exp(points / 3) * rng.gamma(2, 1, rows)
    frame["moment"] = 1.6e9 + points * 10
    frame.loc[::17, "age"] = np.nan
    frame.loc[::19, "town"] = None
    frame.loc[::23, "joined"] = pd.NaT
    frame.loc[::29, "member"] = None
    return frame


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a model of each recipe."""
    made = Store(tmp_path_factory.mktemp("store"))
    frame = people(400, seed=3)
    features = ["age", "height", "town", "street", "joined", "member", "seen"]
    for name, (target, options) in RECIPES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # three epochs do not converge
            model = axon.fit(frame[[*features, target]], target=target, name=name, progress=False, **options)
        model.publish(made, report=False)
    return made


@pytest.fixture(scope="module")
def server(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over the models."""
    with running(store.root, tmp_path_factory.mktemp("log")) as started:
        yield started


def rows_for(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Returns a client's rows: gaps, unknown categories, and numbers far outside the table's range."""
    frame = people(ROWS, seed=7)
    rng = np.random.default_rng(8)
    frame.loc[::31, "street"] = "a new street"
    frame.loc[::37, "town"] = "Rome"
    frame.loc[::41, "height"] *= rng.choice([-20, 20], len(frame.loc[::41]))
    frame.loc[::43, "joined"] = pd.Timestamp("1969-12-31T23:59:59.999999")
    frame.loc[::47, "joined"] = pd.Timestamp("2068-02-29T12:00")
    return [
        {name: sent(cell) for name, cell in row.items()}
        for row in frame[list(checkpoint.schema.names)].to_dict("records")
    ]


def sent(cell: Any) -> Any:
    """Returns the JSON value of a cell."""
    if pd.isna(cell):
        return None
    if isinstance(cell, pd.Timestamp):
        return cell.isoformat()
    return str(cell).lower() if isinstance(cell, bool) else cell


@pytest.mark.parametrize("name", RECIPES)
def test_the_exports_answer_as_the_server_does(name: str, store: Store, server: Server, tmp_path: Path) -> None:
    checkpoint = store.load(name).checkpoint
    rows = rows_for(checkpoint)
    response = http_post(f"{server.url}/predict", json={"model": name, "instances": rows}, timeout=60)
    assert response.status_code == 200, response.text
    document = response.json()
    found = run_onnx(onnx_session(checkpoint, tmp_path, "model"), feed(checkpoint.schema, rows))
    modules = {form: standalone(checkpoint, form, tmp_path, "model") for form in ("torch", "numpy")}
    if isinstance(checkpoint.schema.target, ClassTarget):
        clear = np.ones(ROWS, dtype=bool)
        if "probabilities" in document:
            wanted = np.array(document["probabilities"])
            clear = np.ptp(np.sort(wanted, axis=1)[:, -2:], axis=1) > 2e-6
            for answers in (found["probabilities"], *(module.answers(rows) for module in modules.values())):
                assert np.abs(answers - wanted).max() <= 1e-6
        labels = np.array(document["predictions"])
        texts = np.char.lower(labels.astype(str)) if labels.dtype == bool else labels
        assert (found["label"][clear] == texts[clear]).all()
        for module in modules.values():
            assert (np.array(module.predict(rows))[clear] == labels[clear]).all()
        return
    wanted = np.array(document["predictions"])
    spread = max(checkpoint.schema.target.std, wanted.std())
    for values in (found["value"][:, 0], *(module.predict(rows) for module in modules.values())):
        assert np.abs(values - wanted).max() <= 1e-5 * spread


def test_what_the_server_refuses_the_exports_refuse(store: Store, server: Server, tmp_path: Path) -> None:
    checkpoint = store.load("default-classes").checkpoint
    rows = rows_for(checkpoint)[1:4]
    rows[1]["height"] = None
    response = http_post(f"{server.url}/predict", json={"model": "default-classes", "instances": rows})
    assert [(fault["row"], fault["column"]) for fault in response.json()["errors"]] == [(1, "height")]
    found = run_onnx(onnx_session(checkpoint, tmp_path), feed(checkpoint.schema, rows))
    assert np.isnan(found["probabilities"]).all(axis=1).tolist() == [False, True, False]
    assert [label == "" for label in found["label"]] == [False, True, False]
    for form in ("torch", "numpy"):
        with pytest.raises(ValueError, match=r"^row 1, column 'height': the value is missing"):
            standalone(checkpoint, form, tmp_path).predict(rows)
