"""A model with a decision for F1 gives the same labels and sets in a process, from a server, in bulk and exported."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pyarrow.ipc
import pytest
from serving import http_post, running

import axon
from models.conformal import Conformal
from models.store import Store
from training.fit import fit

ROWS = 200
ARROW = "application/vnd.apache.arrow.stream"


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=600), "b": rng.normal(size=600)})
    return frame.assign(y=np.where(frame.a + 0.8 * rng.normal(size=600) > 1.2, "yes", "no"))


FOLDS = {"members": 3, "folds": True}


@pytest.mark.parametrize(
    "more", [{}, FOLDS, FOLDS | {"portfolio": True}], ids=["one network", "by folds", "a portfolio"]
)
def test_every_way_of_serving_has_the_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    frame = table()
    model = fit(frame, target="y", name="rare", hidden_sizes=(16, 16), epochs=8, metric="f1", seed=0, **more)
    store = Store(tmp_path / "store")
    model.publish(store)
    rows = frame[["a", "b"]].sample(ROWS, random_state=1)
    local = axon.load("rare", store=store.root)
    wanted, probabilities = np.array(local.predict(rows)), local.predict_proba(rows)

    # The decision matters: the shift undone, the most probable class is another one in some of these rows.
    shift = np.array(model.checkpoint.training["decision"]["shift"])
    assert (np.argmax(probabilities * np.exp(-shift), axis=1) != np.argmax(probabilities, axis=1)).sum() >= 5

    conformal = model.checkpoint.conformal
    assert isinstance(conformal, Conformal)
    threshold = conformal.threshold(0.9)
    sets = [
        [label for label, p in zip(local.classes, of_row, strict=True) if 1 - p <= threshold or label == answer]
        for of_row, answer in zip(probabilities.astype(np.float64), wanted, strict=True)
    ]

    with running(store.root, tmp_path, workers=1) as server:
        body = {"model": "rare", "instances": rows.to_numpy().tolist(), "intervals": 0.9}
        answer = http_post(f"{server.url}/predict", json=body).json()
        asked = {"params": {"model": "rare"}, "headers": {"Content-Type": "text/csv", "Accept": ARROW}}
        lines = http_post(f"{server.url}/predict", content=rows.to_csv(index=False), **asked).content
        shape = [ROWS, 1]
        tensors = [{"name": name, "shape": shape, "datatype": "FP64", "data": rows[name].tolist()} for name in rows]
        outputs = http_post(f"{server.url}/v2/models/rare/infer", json={"inputs": tensors}).json()["outputs"]
    labels = next(output["data"] for output in outputs if output["datatype"] == "BYTES")
    np.testing.assert_array_equal(answer["predictions"], wanted)
    np.testing.assert_allclose(answer["probabilities"], probabilities, atol=1e-6)
    assert answer["sets"] == sets
    np.testing.assert_array_equal(pa.ipc.open_stream(lines).read_all()["prediction"].to_pylist(), wanted)
    np.testing.assert_array_equal(labels, wanted)

    scored = axon.Scorer("rare", store=store.root)(rows)
    np.testing.assert_array_equal(scored["prediction"], wanted)

    for form in ("numpy", "torch"):
        name = f"rare_{form}_{len(more)}"
        local.export(tmp_path / f"{name}.py", to=form)
        module = importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
        np.testing.assert_array_equal(module.predict(rows), wanted)
        np.testing.assert_allclose(module.predict_proba(rows), probabilities, atol=2e-6)
    local.export(tmp_path / "rare.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "rare.onnx", providers=["CPUExecutionProvider"])
    (of_onnx,) = session.run(["label"], {name: rows[[name]].to_numpy() for name in rows})
    np.testing.assert_array_equal(of_onnx, wanted)
