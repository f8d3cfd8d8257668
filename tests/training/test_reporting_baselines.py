"""Baselines are scikit-learn's models on the same rows, and the advice follows from the differences."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.columns.dictionary_column import DictionaryColumn
from training.fit import fit
from training.reporting.baselines import compare, raw_matrix
from training.reporting.comparison import LINEAR, OURS, TREES, Difference, advice, difference_of


def differences(**leads):
    """Makes leads with a standard error of 1: `linear` and `trees` over ours, `between` of linear over trees."""
    pairs = {"linear": (LINEAR, OURS), "trees": (TREES, OURS), "between": (LINEAR, TREES)}
    return [
        Difference(of=of, over=over, measure="r2", lead=leads.get(name, 0.0), error=1.0)
        for name, (of, over) in pairs.items()
    ]


def mixed(of, over):
    return [
        Difference(of=of, over=over, measure="accuracy", lead=0.05, error=0.01),
        Difference(of=of, over=over, measure="log_loss", lead=-0.3, error=0.1),
    ]


@pytest.mark.parametrize(
    ("given", "begins"),
    [
        (differences(), "Use the linear model: it is as good as this one (R² the same, standard error 1.000)"),
        (differences(linear=1.9, trees=1.9), "Use the linear model: it is as good"),
        (differences(linear=3, trees=1, between=2), "Use the linear model: it is better than this one"),
        (differences(linear=3, trees=6, between=-3), "Use gradient boosting: it is better than this model"),
        (differences(linear=0, trees=3, between=-3), "Use gradient boosting: it is better than this model"),
        (
            differences(linear=-5, trees=-3, between=-2),
            "Use this model: gradient boosting is behind it (R² 3.000 lower",
        ),
        (differences(linear=-5, trees=-1, between=-4), "Use either this model or gradient boosting"),
        (differences(linear=-5, between=-5)[::2] + mixed(TREES, OURS), "Choose by the measure that counts"),
        ([], "No rows are kept apart"),
    ],
)
def test_the_advice(given, begins):
    assert advice(given, rows=1000).startswith(begins)


def test_advice_on_few_rows_says_so_where_no_difference_was_found():
    assert "With 40 test rows" in advice(differences(), rows=40)
    assert "40 test rows" not in advice(differences(linear=-5, trees=-3, between=-2), rows=40)


def test_a_difference_is_the_mean_and_its_standard_error():
    leads = np.random.default_rng(0).normal(0.1, 2.0, 400)
    found = difference_of(LINEAR, OURS, "r2", leads)
    assert found.lead == pytest.approx(leads.mean())
    # The mean's distribution if rows are resampled (Efron 1979).
    draws = np.random.default_rng(1).choice(leads, (4000, 400)).mean(axis=1)
    assert found.error == pytest.approx(draws.std(), rel=0.05)
    assert found.verdict == 0
    assert difference_of(LINEAR, OURS, "r2", leads + 1).verdict == 1
    assert difference_of(LINEAR, OURS, "r2", leads - 1).verdict == -1


def test_the_linear_model_is_scikit_learns_on_the_same_rows_and_the_figures_are_its():
    model = fit("breast_cancer", epochs=20)
    found = compare(model)
    x = np.column_stack(list(model.table.features.values()))
    scaler = StandardScaler().fit(x[model.split.train])
    oracle = LogisticRegression(max_iter=500).fit(
        scaler.transform(x[model.split.train]), model.table.target[model.split.train]
    )
    for part in ("validation", "test"):
        rows = getattr(model.split, part)
        score = oracle.score(scaler.transform(x[rows]), model.table.target[rows])
        assert found.baselines[0].metrics[part]["accuracy"] == pytest.approx(score)
    accuracy = next(d for d in found.differences if (d.of, d.over, d.measure) == (LINEAR, OURS, "accuracy"))
    theirs, ours = found.baselines[0].metrics["test"]["accuracy"], model.metrics["test"]["accuracy"]
    assert accuracy.lead == pytest.approx(theirs - ours)
    log_loss = next(d for d in found.differences if (d.of, d.over, d.measure) == (TREES, OURS, "log_loss"))
    theirs, ours = found.baselines[1].metrics["test"]["log_loss"], model.metrics["test"]["log_loss"]
    assert log_loss.lead == pytest.approx(ours - theirs, abs=1e-6)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["advice"] == found.advice
    assert found.beside.startswith("Answers to 1,000 rows in memory took this model ")
    assert all(baseline.seconds > 0 for baseline in found.baselines)


def test_trees_of_several_libraries_are_told_apart_by_name():
    leads = [Difference(of=TREES, over=OURS, measure="r2", lead=lead, error=0.01) for lead in (0.2, -0.2, 0.0)]
    for lead, words in zip(
        leads,
        (
            "Use gradient boosting (CatBoost): it",
            "gradient boosting (CatBoost) is behind",
            "or gradient boosting (CatBoost):",
        ),
        strict=True,
    ):
        linear = [Difference(of=LINEAR, over=of, measure="r2", lead=-0.5, error=0.01) for of in (OURS, TREES)]
        assert words in advice([lead, *linear], rows=500, library="CatBoost")


def linear_table(rows=600, **more):
    rng = np.random.default_rng(0)
    x, kind = rng.normal(size=rows), np.array(["a", "b", "c", None])[rng.integers(0, 4, rows)]
    x[::17] = np.nan
    y = 2 * np.nan_to_num(x) + (kind == "a") + 0.3 * rng.normal(size=rows)
    return {"x": x, "kind": pa.array(kind.tolist(), pa.string()), "y": y, **more}


def test_gaps_and_categories_are_taken_and_a_linear_truth_is_left_to_the_linear_model():
    model = fit(pa.table(linear_table()), target="y", name="linear", epochs=5)
    found = compare(model)
    assert found.advice.startswith("Use the linear model")
    assert found.baselines[0].metrics["test"]["r2"] > 0.95
    assert found.baselines[1].metrics["test"]["r2"] > 0.9


def test_xor_is_left_to_no_linear_model_and_whole_tables_give_no_advice():
    model = fit("xor")
    found = compare(model)
    assert found.differences == ()
    assert found.advice.startswith("No rows are kept apart")
    assert found.baselines[0].metrics["test"]["accuracy"] <= 0.75


def test_categories_are_numbered_by_the_training_part_alone():
    model = fit(pa.table(linear_table(60)), target="y", name="numbered", epochs=1)
    names = DictionaryColumn.from_strings(["rare", "often", "often", None, "unseen"])
    table = model.table.__class__(name="t", features={"kind": names}, target_name="y", labels=(), target=np.arange(5.0))
    matrix = raw_matrix(table, np.array([0, 1, 2, 3]))
    assert matrix[:, 0].tolist()[:3] == [1, 0, 0]
    assert np.isnan(matrix[3:, 0]).all()


def test_weights_reach_the_baselines():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    truth = np.where(x > 0, "up", "down")
    table = pa.table({"x": x, "y": np.where(rng.random(400) < 0.5, truth, "down")})
    model = fit(table, target="y", name="weighted", epochs=1)
    heavy = np.where(model.table.target == 1, 1000.0, 1.0)  # a row of "up" weighs a thousand
    weighted = compare(model.__class__(**{**vars(model), "table": replace_weight(model.table, heavy)}))
    plain = compare(model)
    for before, after in zip(plain.baselines, weighted.baselines, strict=True):
        assert before.metrics["test"]["log_loss"] < after.metrics["test"]["log_loss"]


def replace_weight(table, weight):
    return dataclasses.replace(table, weight=weight)
