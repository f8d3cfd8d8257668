"""`--intervals` and `Scorer(intervals=…)`: the bounds and the sets of `axon predict` and of the server."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ensembles import ensemble
from scored_tables import MIXED, NUMBERS, SIZES, write
from serving import make_checkpoint, running

import axon
from axon.cli import main
from models.columns.schema import NumericTarget
from models.conformal import Conformal
from models.errors import ConfigError, DataError
from models.store import Store

LEVEL = 0.8
SETS = Conformal(200, np.round(np.linspace(0.002, 0.9, 200), 6))
SPENT = dataclasses.replace(MIXED, target=NumericTarget(name="spent", mean=60, std=20, minimum=-1e3, maximum=1e3))
BOUNDS = Conformal(50, np.round(np.linspace(0.01, 7, 50) ** 1.5, 6))


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a classifier, a regressor and an ensemble that have calibration rows, and one without."""
    store = Store(tmp_path_factory.mktemp("calibrated") / "store")
    for name, checkpoint, conformal in (
        ("numbers", make_checkpoint(NUMBERS, 16, 16), SETS),
        ("mixed", make_checkpoint(SPENT, 16), BOUNDS),
        ("sizes", ensemble(SIZES, 3, 8), SETS),
        ("plain", make_checkpoint(NUMBERS, 16), None),
    ):
        store.publish(name, dataclasses.replace(checkpoint, conformal=conformal))
    return store


def score(store: Store, source: Path, model: str, out: Path, *options: str) -> int:
    return main(["score", str(source), "--model", model, "--store", str(store.root), "--out", str(out), *options])


@pytest.mark.filterwarnings("ignore:.*unknown:UserWarning")
@pytest.mark.parametrize(("model", "names"), [("numbers", ["set"]), ("mixed", ["low", "high"])])
def test_the_columns_are_those_of_axon_predict_with_intervals(
    calibrated, model, names, tmp_path, request: pytest.FixtureRequest
):
    table = request.getfixturevalue(model).slice(0, 3_000)
    source = write(table, tmp_path / "rows.parquet", row_group_size=1_000)
    level = ("--intervals", str(LEVEL))
    predicted = tmp_path / "predicted.parquet"
    options = ["--model", model, "--store", str(calibrated.root), "--out", str(predicted), "--prefix", "a "]
    assert main(["predict", str(source), *options, *level]) == 0
    assert score(calibrated, source, model, tmp_path / "out", *level, "--prefix", "a ", "--part-rows", "1000") == 0
    wanted, found = pq.read_table(predicted), pq.read_table(tmp_path / "out")
    assert found.column_names == wanted.column_names[-len(found.column_names) :]
    assert found.column_names[-len(names) :] == [f"a {name}" for name in names]
    for name in [f"a {name}" for name in names]:
        assert found[name].type == wanted[name].type
        if model == "numbers":
            assert found[name].equals(wanted[name])
            assert len(set(found[name].to_pylist())) > 3, "sets of one, of two and of three labels"
        else:
            np.testing.assert_allclose(found[name].to_numpy(), wanted[name].to_numpy(), rtol=1e-5, atol=1e-5)
            assert len(np.unique(found[name].to_numpy())) > 1_000


def test_a_rerun_has_the_same_level_and_a_job_that_stopped_goes_on(calibrated, numbers, tmp_path, capsys):
    source = write(numbers.slice(0, 2_000), tmp_path / "rows.parquet", row_group_size=500)
    run = ("--part-rows", "500", "--intervals", "0.8")
    assert score(calibrated, source, "numbers", tmp_path / "out", *run) == 0
    first = (tmp_path / "out/part-00002.parquet").read_bytes()
    (tmp_path / "out/part-00002.parquet").unlink()
    (tmp_path / "out/_axon/parts/00002.json").unlink(missing_ok=True)
    assert score(calibrated, source, "numbers", tmp_path / "out", *run) == 0
    assert (tmp_path / "out/part-00002.parquet").read_bytes() == first
    capsys.readouterr()
    for other, words in (((), "0.8, not (none)"), (("--intervals", "0.9"), "0.8, not 0.9")):
        assert score(calibrated, source, "numbers", tmp_path / "out", "--part-rows", "500", *other) == 2
        assert f"was begun with --intervals {words}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("plain", ("--intervals", "0.8"), "has no calibration rows for them"),
        ("mixed", ("--intervals", "0.99"), "50 calibration rows support levels up to 0.9803"),
        ("sizes", ("--intervals", "0.8", "--members", "2"), "are for the answers of all 3 members"),
    ],
)
def test_a_model_without_such_intervals_is_refused_before_the_source_is_read(
    calibrated, model, options, words, tmp_path, capsys
):
    assert score(calibrated, tmp_path / "there is none.parquet", model, tmp_path / "out", *options) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    given = {"intervals": float(options[1]), "members": 2 if len(options) > 2 else None}
    with pytest.raises(ConfigError, match=words):
        axon.Scorer(model, calibrated, **given)


def test_wrong_levels_and_names_that_are_taken_are_refused(calibrated, tmp_path, capsys):
    with pytest.raises(SystemExit):
        score(calibrated, tmp_path, "numbers", tmp_path / "out", "--intervals", "1.5")
    assert "a level between 0 and 1 is expected, got '1.5'" in capsys.readouterr().err
    for level in (0, 1, True, "0.9", float("nan")):
        with pytest.raises(ConfigError, match="a level between 0 and 1"):
            axon.Scorer("numbers", calibrated, intervals=level)
    with pytest.raises(DataError, match="'low' has the name of an answer"):
        axon.Scorer("mixed", calibrated, intervals=0.8, keep=["low"])
    assert axon.Scorer("mixed", calibrated, keep=["low"]).schema.names == ["prediction"]


def test_a_pickled_scorer_keeps_its_level_and_a_row_that_does_not_fit_has_none(calibrated, numbers):
    x1 = numbers["x1"].to_numpy()[:200].copy()
    x1[[7, 150]] = np.nan
    table = numbers.slice(0, 200).set_column(2, "x1", [x1])
    scorer = axon.Scorer("numbers", calibrated, intervals=LEVEL, errors="null")
    answers = pickle.loads(pickle.dumps(scorer))(table)
    assert answers.schema == scorer.schema
    assert answers.equals(scorer(table))
    assert np.flatnonzero([text is None for text in answers["set"].to_pylist()]).tolist() == [7, 150]
    probabilities = np.stack([answers[name].to_numpy()[:7] for name in answers.column_names[1:4]], axis=1)
    threshold = SETS.threshold(LEVEL)
    labels, texts = answers["prediction"].to_pylist()[:7], answers["set"].to_pylist()[:7]
    for row, text, label in zip(probabilities, texts, labels, strict=True):
        near = [name for name, p in zip(("red", "green", "blue"), row, strict=True) if 1 - float(p) <= threshold]
        assert json.loads(text) == (near or [label])
    frame = scorer(table.to_pandas())
    assert frame["set"][0] == answers["set"][0].as_py()
    assert axon.Scorer("numbers", calibrated)(table.slice(0, 5)).column_names == answers.column_names[:-1]


@pytest.mark.slow
def test_the_server_gives_the_same_intervals(calibrated, numbers, mixed, short_folder: Path):
    some, others = numbers.slice(0, 500), mixed.slice(0, 500)
    with running(calibrated.root, short_folder) as server, axon.Client(server.url) as client:
        answered = client.predict(some.drop_columns(["id"]), model="numbers", intervals=LEVEL)
        found = axon.Scorer("numbers", calibrated, intervals=LEVEL)(some)
        assert [json.loads(text) for text in found["set"].to_pylist()] == [list(one) for one in answered.sets]
        answered = client.predict(others.drop_columns(["note"]), model="mixed", intervals=LEVEL)
        found = axon.Scorer("mixed", calibrated, intervals=LEVEL)(others)
        bounds = np.stack([found["low"].to_numpy(), found["high"].to_numpy()], axis=1)
        np.testing.assert_array_equal(bounds, np.asarray(answered.intervals, np.float32))  # JSON has float32's digits


def test_labels_of_every_type_are_written_as_json(calibrated):
    scorer = axon.Scorer("sizes", calibrated, intervals=0.95)
    answers = scorer(pa.table({"a": [0.1, 2.0], "b": [1.0, -1.0]}))
    assert all(set(json.loads(text)) <= {1, 2, 40} for text in answers["set"].to_pylist())
    assert all(
        label in json.loads(text)
        for label, text in zip(answers["prediction"].to_pylist(), answers["set"].to_pylist(), strict=True)
    )
