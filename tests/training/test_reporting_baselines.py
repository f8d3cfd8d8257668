"""Baselines are scikit-learn's models on the same rows, and the advice follows from the differences."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import metrics as oracle
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from models.columns.dictionary_column import DictionaryColumn
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.reporting.baselines import compare, raw_matrix
from training.reporting.comparison import (
    CONSTANT,
    LINEAR,
    OURS,
    TREES,
    Difference,
    advice,
    balanced_gains,
    difference_of,
)
from training.reporting.keeping import trees_code


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
    theirs = LogisticRegression(max_iter=500).fit(
        scaler.transform(x[model.split.train]), model.table.target[model.split.train]
    )
    for part in ("validation", "test"):
        rows = getattr(model.split, part)
        score = theirs.score(scaler.transform(x[rows]), model.table.target[rows])
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
    # Only the ratios of weights count: penalties have no scale of their own.
    light = compare(dataclasses.replace(model, table=replace_weight(model.table, heavy / 1e6)))
    for one, other in zip(weighted.baselines, light.baselines, strict=True):
        assert one.metrics["test"]["log_loss"] == pytest.approx(other.metrics["test"]["log_loss"], rel=1e-4)


def replace_weight(table, weight):
    return dataclasses.replace(table, weight=weight)


@pytest.mark.parametrize("portfolio", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_with_folds_the_baselines_validate_on_a_fold_that_they_did_not_learn_from(portfolio):
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(300, 4)), rng.choice(["no", "yes"], 300)  # nothing to learn, but by heart
    frame = pa.table({**{f"x{i}": x[:, i] for i in range(4)}, "y": label})
    model = fit(frame, target="y", members=3, folds=True, portfolio=portfolio, epochs=2, hidden_sizes=(8,))
    found = compare(model)
    split, target = model.split, model.table.target
    is_last = split.folds == 2
    learned, apart = split.train[~is_last], split.train[is_last]
    linear, trees = found.baselines
    scaler = StandardScaler().fit(x[learned])
    theirs = LogisticRegression(max_iter=500).fit(scaler.transform(x[learned]), target[learned])
    for part, rows in (("validation", apart), ("test", split.test)):
        assert linear.metrics[part]["accuracy"] == pytest.approx(theirs.score(scaler.transform(x[rows]), target[rows]))
        assert linear.metrics[part]["rows"] == len(rows)
    assert trees.metrics["validation"]["accuracy"] < 0.7, "rows that were learned by heart would have 1"
    # The figures beside them are of the same rows: the answers of the member that did not learn from this fold.
    answers = model.out_of_fold.answers[is_last]
    assert found.ours["validation"]["log_loss"] == pytest.approx(oracle.log_loss(target[apart], answers), rel=1e-5)
    shares = np.tile(np.bincount(target[learned]) / len(learned), (len(apart), 1))
    assert found.constant["validation"]["log_loss"] == pytest.approx(oracle.log_loss(target[apart], shares))
    assert found.ours["test"] == model.metrics["test"]


@pytest.mark.parametrize("weighted", [False, True])
def test_with_balanced_classes_the_baselines_are_balanced_and_balanced_accuracy_decides(weighted):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 2))
    label = np.where(rng.random(1200) < 1 / (1 + np.exp(4 - 2 * x[:, 0])), "yes", "no")
    model = fit(
        pa.table({"a": x[:, 0], "b": x[:, 1], "y": label}),
        target="y",
        class_weight="balanced",
        epochs=10,
        hidden_sizes=(8,),
    )
    weight = rng.uniform(0.5, 2, 1200) if weighted else np.ones(1200)
    if weighted:
        model = dataclasses.replace(model, table=replace_weight(model.table, weight))
    found = compare(model)
    train, test, target = model.split.train, model.split.test, model.table.target
    scaler = StandardScaler().fit(x[train])
    mass = np.bincount(target[train], weight[train])
    rows = {"sample_weight": weight[train] * (mass.sum() / 2 / mass)[target[train]]}
    theirs = {
        LINEAR: LogisticRegression(max_iter=500)
        .fit(scaler.transform(x[train]), target[train], **rows)
        .predict(scaler.transform(x[test])),
        TREES: HistGradientBoostingClassifier(random_state=0).fit(x[train], target[train], **rows).predict(x[test]),
    }
    for baseline in found.baselines:
        score = oracle.balanced_accuracy_score(target[test], theirs[baseline.name])
        assert baseline.metrics["test"]["balanced_accuracy"] == pytest.approx(score)
    assert {difference.measure for difference in found.differences} == {"balanced_accuracy"}
    ours = model.metrics["test"]["balanced_accuracy"]
    for difference in found.differences:
        if difference.over == OURS:
            score = oracle.balanced_accuracy_score(target[test], theirs[difference.of])
            assert difference.lead == pytest.approx(score - ours)
        if difference.over == CONSTANT and difference.of == OURS:
            assert difference.lead == pytest.approx(ours - 0.5)
            assert difference.verdict == 1
    assert "balanced accuracy" in found.advice
    assert "log loss" not in found.advice


def test_the_standard_error_of_a_balanced_accuracy_is_that_of_recalls_of_resampled_classes():
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 3], [300, 40, 60])  # no row of class 2
    right = [rng.random(400) < share for share in (0.8, 0.6)]
    found = difference_of(
        LINEAR, OURS, "balanced_accuracy", balanced_gains(right[0], truth) - balanced_gains(right[1], truth)
    )

    def score(rows):
        of = [[own[rows][truth[rows] == label].mean() for label in (0, 1, 3)] for own in right]
        return np.mean(of[0]) - np.mean(of[1])

    assert found.lead == pytest.approx(score(np.arange(400)))
    draws = []
    for _ in range(2000):
        parts = [np.flatnonzero(truth == label) for label in (0, 1, 3)]
        draws.append(score(np.concatenate([rng.choice(part, len(part)) for part in parts])))
    assert found.error == pytest.approx(np.std(draws), rel=0.08)


def test_code_that_keeps_trees_learns_with_the_weights_of_the_run(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "w": rng.integers(0, 3, 300)})
    frame["y"] = np.where(frame.x + rng.normal(size=300) > 0, "up", "down")
    table = fit(frame, target="y", choices=ColumnChoices(weight="w"), epochs=1, hidden_sizes=(4,)).table
    code = trees_code(table, None).replace("...  # a DataFrame with these columns", "given")
    code = code.replace(repr(f"{table.name}-trees.joblib"), repr(str(tmp_path / "trees.joblib")))
    made = {"given": frame}
    exec(code, made)
    kept = frame[frame.w > 0].loc[lambda rows: rows.index.repeat(rows.w)]
    alone = HistGradientBoostingClassifier(random_state=0).fit(kept[["x"]], kept.y)
    given, of_repeated = made["trees"].predict_proba(frame[["x"]]), alone.predict_proba(frame[["x"]])
    plain = HistGradientBoostingClassifier(random_state=0).fit(frame[["x"]], frame.y).predict_proba(frame[["x"]])
    # Rows by their number and by their weight are the same to trees but for the bins and the least rows of a leaf.
    assert np.abs(given - of_repeated).mean() < 0.5 * np.abs(plain - of_repeated).mean()


@pytest.mark.parametrize("library", ["scikit-learn", "LightGBM", "CatBoost"])
def test_code_that_keeps_trees_has_the_balance_of_the_run(library):
    table = fit("iris", epochs=1, hidden_sizes=(4,)).table
    plain, balanced = (trees_code(table, None, library=library, is_balanced=one) for one in (False, True))
    word = 'auto_class_weights="Balanced"' if library == "CatBoost" else 'class_weight="balanced"'
    assert word in balanced
    assert word not in plain


@pytest.mark.parametrize("form", ["%d/%m/%Y", "%m/%d/%Y", "%Y%m%d", "%y-%m-%d", "epoch-seconds", "excel-days"])
def test_code_that_keeps_trees_reads_dates_as_the_run_does(form, tmp_path):
    rng = np.random.default_rng(0)
    days = pd.Series(pd.date_range("2023-01-01", "2025-12-31")[rng.permutation(1096)[:300]])
    days = days.where(days.dt.day <= 12, days.dt.normalize() - pd.to_timedelta(days.dt.day - 12, unit="D"))
    since = (days - pd.Timestamp(0)).dt.days
    numbers = {"epoch-seconds": since * 86_400, "excel-days": since + 25_569}
    texts = days.dt.strftime(form if "%" in form else "%Y")
    frame = pd.DataFrame({"day": numbers.get(form, texts.astype(int) if form == "%Y%m%d" else texts)})
    frame["y"] = np.where(days > pd.Timestamp("2024-06-01"), "late", "early")
    model = fit(frame, target="y", choices=ColumnChoices(date_formats={"day": form}), epochs=1, hidden_sizes=(4,))
    code = trees_code(model.table, None).replace("...  # a DataFrame with these columns", "given")
    code = code.replace(repr(f"{model.table.name}-trees.joblib"), repr(str(tmp_path / "trees.joblib")))
    made = {"given": frame}
    exec(code, made)
    assert made["features"](frame)["day"].tolist() == (since * 86_400.0).tolist()
