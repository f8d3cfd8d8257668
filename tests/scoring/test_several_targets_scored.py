"""A model with several targets is scored into a column for each target, against a forward pass by hand."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from scored_tables import write
from serving import SEVERAL, make_checkpoint, numeric

import axon
from axon.cli import main
from models.checkpoint import Checkpoint
from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.conformal import Conformal
from models.errors import ConfigError, DataError
from models.store import Store

NAMES = ["prediction_rent", "prediction_sold", "prediction_cost"]
BOUNDS = [f"{name}_{bound}" for name in NAMES for bound in ("low", "high")]
STDS = np.array([target.std for target in SEVERAL.targets])
CHECKPOINT = make_checkpoint(Schema(columns=(numeric("a"), numeric("b", 5, 2)), target=SEVERAL), 8, clamp=True)
# The scores of each target: its own spread apart.
SCORES = np.round(np.linspace(0.01, 2, 50)[None, :] * STDS[:, None], 9)


def forward(checkpoint: Checkpoint, x: np.ndarray) -> np.ndarray:
    """Returns the answers in float64: standardised inputs, two layers, the units and the ranges of the targets."""
    tensors = {name: tensor.astype(np.float64) for name, tensor in checkpoint.tensors.items()}
    shift, divisor = checkpoint.schema.standardisation()
    hidden = (x - shift) / divisor @ tensors["layers.0.weight"].T + tensors["layers.0.bias"]
    z = np.maximum(hidden, 0) @ tensors["layers.1.weight"].T + tensors["layers.1.bias"]
    columns = [
        np.clip(z[:, i] * target.std + target.mean, target.minimum, target.maximum)
        for i, target in enumerate(checkpoint.schema.values)
    ]
    return np.stack(columns, axis=1)


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("several") / "store")
    store.publish("homes", CHECKPOINT)
    return store


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    rng = np.random.default_rng(8)
    return pa.table({"id": np.arange(2_000), "b": rng.normal(5, 2, 2_000), "a": rng.normal(0.3, 1.7, 2_000)})


def inputs(table: pa.Table) -> np.ndarray:
    return np.stack([table["a"].to_numpy(), table["b"].to_numpy()], axis=1)


def assert_close(found: Any, wanted: np.ndarray) -> None:
    for i, name in enumerate(NAMES):
        assert np.abs(np.asarray(found[name]) - wanted[:, i]).max() < 1e-5 * STDS[i], name


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_job_writes_a_column_for_each_target(several: Store, rows: pa.Table, suffix: str, tmp_path: Path) -> None:
    source, out = write(rows, tmp_path / f"rows{suffix}"), tmp_path / f"out{suffix}"
    options = ["--model", "homes", "--store", str(several.root), "--out", str(out), "--keep", "id"]
    assert main(["score", str(source), *options]) == 0
    found = pq.read_table(out) if suffix == ".parquet" else pyarrow.csv.read_csv(out)
    assert found.column_names == ["id", *NAMES]
    assert all(found[name].type == pa.float64() for name in NAMES)
    assert found["id"].to_pylist() == list(range(2_000))
    assert_close(found.to_pandas(), forward(CHECKPOINT, inputs(rows)))


def test_a_scorer_answers_tables_frames_and_arrays_alike(several: Store, rows: pa.Table) -> None:
    scorer = pickle.loads(pickle.dumps(axon.Scorer("homes", several, prefix="my ")))
    assert scorer.schema.names == [f"my {name}" for name in NAMES]
    table, frame = scorer(rows), scorer(rows.to_pandas())
    arrays = scorer({name: rows[name].to_numpy() for name in ("a", "b")})
    wanted = forward(CHECKPOINT, inputs(rows))
    for found in (table, frame, arrays):
        assert_close({name: np.asarray(found[f"my {name}"]) for name in NAMES}, wanted)
        for name in scorer.schema.names:
            np.testing.assert_array_equal(np.asarray(found[name]), table[name].to_numpy())
    assert scorer(rows.slice(0, 0)).num_rows == 0


def test_a_refused_row_has_a_null_for_each_target(several: Store, rows: pa.Table) -> None:
    gappy = rows.slice(0, 3).set_column(2, "a", pa.array([0.5, None, 0.1]))
    found = axon.Scorer("homes", several, errors="null")(gappy)
    assert [found[name].is_null().to_pylist() for name in NAMES] == [[False, True, False]] * 3
    assert axon.Scorer("homes", several, errors="skip")(gappy).num_rows == 2


def test_intervals_are_those_of_each_target(rows: pa.Table) -> None:
    from scoring.answer_columns import AnswerColumns
    from scoring.answering import BatchAnswerer

    # The rank of level 0.8 among 50 scores is ⌈51 · 0.8⌉ = 41.
    thresholds = SCORES[:, 40]
    checkpoint = dataclasses.replace(CHECKPOINT, conformal=Conformal(50, SCORES))
    columns = AnswerColumns(checkpoint, intervals=0.8)
    assert columns.schema.names == [*NAMES, *BOUNDS]
    answered = BatchAnswerer(checkpoint).answer([rows["a"].to_numpy(), rows["b"].to_numpy()], 2_000)
    found = dict(zip(columns.schema.names, columns.of(answered, with_gaps=False), strict=True))
    wanted = forward(CHECKPOINT, inputs(rows))
    for i, name in enumerate(NAMES):
        for sign, bound in ((-1, "low"), (1, "high")):
            apart = found[f"{name}_{bound}"].to_numpy() - (wanted[:, i] + sign * thresholds[i])
            assert np.abs(apart).max() < 1e-5 * STDS[i]


def test_names_that_are_taken_are_refused(several: Store) -> None:
    with pytest.raises(DataError, match="'prediction_sold' has the name of an answer"):
        axon.Scorer("homes", several, keep=["prediction_sold"])
    from scoring.answer_columns import AnswerColumns

    names = ("rent", "rent_low")
    targets = tuple(NumericTarget(name=name, mean=0, std=1, minimum=-1, maximum=1) for name in names)
    schema = Schema(columns=(numeric("a"),), target=ValuesTarget(targets=targets))
    plain = make_checkpoint(schema, 4)
    assert AnswerColumns(plain).schema.names == ["prediction_rent", "prediction_rent_low"]
    covered = dataclasses.replace(plain, conformal=Conformal(3, np.array([0.1, 0.2, 0.3])))
    with pytest.raises(ConfigError, match="two targets give one column of intervals the name"):
        AnswerColumns(covered, intervals=0.5)
