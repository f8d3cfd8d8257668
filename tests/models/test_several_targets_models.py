"""Calibration, distributions and logged rows of several targets, by hand and beside those of one target each."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from serving import SEVERAL, make_checkpoint, numeric

from models.checkpoint import load_checkpoint, save_checkpoint
from models.columns.encoding import RowEncoder
from models.columns.schema import NumericTarget, Schema, ValuesTarget
from models.conformal import MOST_SCORES, Conformal, bounds_of
from models.distributions.distributions import Distributions, NumberCounts
from models.distributions.row_counter import ABOVE, BELOW, RowCounter
from models.errors import CheckpointError, ConfigError, DataError
from models.explaining.explained_output import ExplainedOutput, checked_label, explained_label
from models.prediction_log.logged_rows import EncodedRows, read_spool, rows_record, version_record
from models.prediction_log.logged_version import LoggedVersion
from models.prediction_log.parquet_files import read_parquet, write_parquet
from models.prediction_log.spool import MAGIC
from training.distributions import training_distributions

# Named like a column of the table, and like the distributions of a classifier.
NAMES = ("x", "class", "confidence")
NAMED = ValuesTarget(targets=tuple(replace(one, name=name) for one, name in zip(SEVERAL.targets, NAMES, strict=True)))
SCHEMA = Schema(columns=(numeric("x"), numeric("z")), target=NAMED)


def answers_of(rows: int, seed: int = 0) -> np.ndarray:
    """Returns float32 answers of a network, without origins; some lie beyond the targets' ranges."""
    rng = np.random.default_rng(seed)
    spread = np.array([14.0, 6e7, 0.4])
    return (rng.normal(size=(rows, 3)) * spread + [20, 0, -0.5]).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 49, 3_210])
def test_scores_of_several_targets_are_those_of_each(rows: int) -> None:
    rng = np.random.default_rng(rows)
    answers, truth = rng.normal(size=(2, rows, 3)) * [1, 1e6, 1e-3]
    together = Conformal.of_values(answers, truth)
    assert together is not None
    alone = [Conformal.of_values(answers[:, i], truth[:, i]) for i in range(3)]
    assert together.scores.shape == (3, min(rows, MOST_SCORES))
    for scores, one in zip(together.scores, alone, strict=True):
        assert one is not None
        np.testing.assert_array_equal(scores, one.scores)
    if rows > 1:
        threshold = together.threshold(0.9)
        assert isinstance(threshold, np.ndarray)
        assert threshold.tolist() == [one.threshold(0.9) for one in alone if one is not None]
        bounds = bounds_of(answers, threshold)
        if rows <= MOST_SCORES:
            ranked = np.sort(np.abs(answers - truth), axis=0)[math.ceil((rows + 1) * 0.9) - 1]
            np.testing.assert_allclose(bounds[..., 1] - answers, np.tile(ranked, (rows, 1)), rtol=2e-5)
        covered = (bounds[..., 0] <= truth) & (truth <= bounds[..., 1])
        assert (covered.mean(axis=0) >= 0.9).all()


def test_scores_survive_the_file_and_must_fit_the_targets(tmp_path: Path) -> None:
    scores = Conformal(2, np.array([[0.5, 1], [2e6, 3e6], [0, 0.01]]))
    checkpoint = replace(make_checkpoint(SCHEMA, 4), conformal=scores)
    save_checkpoint(checkpoint, tmp_path / "one.safetensors")
    again = load_checkpoint(tmp_path / "one.safetensors").checkpoint.conformal
    assert again is not None
    np.testing.assert_array_equal(again.scores, scores.scores)
    assert again.rows == 2
    for damaged in ([0.5, 1], [[0.5, 1], [1, 2]], [[0.5, 1], [1, 2], [2, 1]], [[0.5, 1], [1, 2], 3]):
        with pytest.raises(DataError, match="conformal"):
            Conformal.from_dict({"rows": 2, "scores": damaged}, 3)
    save_checkpoint(replace(checkpoint, conformal=Conformal(2, np.array([0.5, 1]))), tmp_path / "two.safetensors")
    with pytest.raises(CheckpointError, match="for each of 3 targets"):
        load_checkpoint(tmp_path / "two.safetensors")


def test_a_target_is_counted_as_if_it_were_alone() -> None:
    answers, x = answers_of(5_000), np.random.default_rng(1).normal(size=(400, 2)).astype(np.float32)
    whole = training_distributions(SCHEMA, x, answers + SCHEMA.origin, seed=0)
    assert tuple(whole.predictions) == NAMES
    raw = whole.to_dict()
    assert Distributions.from_dict(raw, SCHEMA) == whole
    counter = RowCounter(SCHEMA, whole)
    others = answers_of(3_000, seed=2)
    counts = counter.count(np.zeros((3_000, 2), np.float32), others)
    for place, target in enumerate(NAMED.targets):
        schema = replace(SCHEMA, target=target)
        alone = training_distributions(schema, x, answers[:, [place]].astype(np.float64) + target.origin, seed=0)
        assert alone.predictions["value"] == whole.predictions[target.name]
        one = RowCounter(schema, alone)
        of_one = one.count(np.zeros((3_000, 2), np.float32), others[:, [place]])
        there, here = counter.variables[2 + place], one.variables[-1]
        assert (there.name, there.column) == (target.name, None)
        assert counts[there.start : there.end + 3].tolist() == of_one[here.start : here.end + 3].tolist()
        values = others[:, place].astype(np.float64) + target.origin
        assert target.minimum is not None
        assert target.maximum is not None
        assert counts[there.end + BELOW] == (values < target.minimum).sum() > 0
        assert counts[there.end + ABOVE] == (values > target.maximum).sum() > 0
        assert isinstance(there.counts, NumberCounts)
        by_hand = np.histogram(values, [-np.inf, *there.counts.edges, np.inf])[0]
        assert counts[there.start : there.end].tolist() == by_hand.tolist()


def test_distributions_of_other_targets_are_refused() -> None:
    raw = training_distributions(SCHEMA, np.zeros((9, 2), np.float32), answers_of(9), seed=0).to_dict()
    with pytest.raises(DataError, match="need predictions of rent and sold and cost"):
        Distributions.from_dict(raw, replace(SCHEMA, target=SEVERAL))


def test_logged_rows_have_a_column_for_each_target(tmp_path: Path) -> None:
    version = LoggedVersion(
        name="houses", version=3, digest="d", columns=SCHEMA.columns, left_out=0, target=NAMED, has_probabilities=False
    )
    answers = answers_of(20)
    encoded = np.frombuffer(RowEncoder(SCHEMA).encode([[0.5, float(i)] for i in range(20)]), "<f4").reshape(20, 2)
    rows = EncodedRows(
        times=1.7e9 + np.arange(20.0),
        request_ids=[f"r{i}" for i in range(20)],
        places=np.zeros(20, np.int32),
        asked=[None] * 20,
        members=[None] * 20,
        rows=encoded,
        answers=answers,
    )
    [logged] = read_spool(MAGIC + version_record(0, version) + rows_record(0, rows))
    wanted = answers.astype(np.float64) + np.array([0, 1.7e9, 0])
    np.testing.assert_array_equal(logged.values(), wanted)
    write_parquet(logged, tmp_path / "rows.parquet")
    table = pq.read_table(tmp_path / "rows.parquet")
    assert [name for name in table.column_names if "prediction" in name] == [f"prediction_{name}" for name in NAMES]
    for place, name in enumerate(NAMES):
        np.testing.assert_array_equal(table[f"prediction_{name}"].to_numpy(), wanted[:, place])
    np.testing.assert_array_equal(table["input.x"].to_numpy(), np.full(20, 0.5, np.float32))
    again = read_parquet(tmp_path / "rows.parquet")
    assert again.version == version
    assert again.answers.dtype == np.float32
    np.testing.assert_allclose(again.values(), wanted, rtol=1e-15)


def test_the_first_target_is_explained_unless_another_is_named() -> None:
    answers = answers_of(4)
    for label, place in ((None, 0), ("class", 1), ("confidence", 2)):
        checked_label(SCHEMA, False, label, None)
        output = ExplainedOutput(SCHEMA, explained_label(SCHEMA, label, None), logit=False)
        assert (output.label, output.scale, output.origin) == (NAMES[place], "value", NAMED.targets[place].origin)
        np.testing.assert_array_equal(output.of(answers), answers[:, place])
    with pytest.raises(ConfigError, match="no target of the model; its targets are 'x', 'class'"):
        checked_label(SCHEMA, False, "y", None)
    with pytest.raises(ConfigError, match="leave scale out"):
        checked_label(SCHEMA, False, "x", "logit")
    one = Schema(columns=SCHEMA.columns, target=NumericTarget(name="y", mean=0, std=1, minimum=-1, maximum=1))
    assert explained_label(one, None, None) is None
    with pytest.raises(ConfigError, match="leave output out"):
        checked_label(one, False, "y", None)
