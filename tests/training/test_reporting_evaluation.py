"""An evaluation equals the results of scikit-learn and arithmetic for the same predictions."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import metrics as oracle

from models.errors import ConfigError
from models.network.summary import summarize
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.reporting.evaluation import MAX_CLASSES, evaluation_of
from training.reporting.importance import REPEATS, ROWS, affordable_rows, blocks_of, permutation_importance, score_of


@pytest.fixture(scope="module")
def digits():
    return fit("digits", epochs=4)


@pytest.fixture(scope="module")
def houses():
    rng = np.random.default_rng(0)
    size, rooms = rng.uniform(20, 200, 300), rng.integers(1, 6, 300)
    area = np.array(["north", "south", "west"])[rng.integers(0, 3, 300)]
    price = 3.0 * size + 100 * (area == "north") + rng.normal(0, 5, 300)
    table = pa.table({"size": size, "area": area, "rooms": rooms.astype(float), "price": price})
    return fit(table, target="price", name="houses", epochs=40)


def answers(model):
    rows = [model.table.example(int(row)) for row in model.split.test]
    return model.predict(rows)


def test_the_confusion_matrix_is_scikit_learns(digits):
    evaluation = evaluation_of(digits)
    labels = list(digits.table.classes)
    truth = [labels[i] for i in digits.table.target[digits.split.test]]
    assert evaluation.confusion.labels == tuple(map(str, labels))
    assert evaluation.confusion.merged == 0
    assert np.array_equal(evaluation.confusion.counts, oracle.confusion_matrix(truth, answers(digits), labels=labels))


def test_the_calibration_and_the_bins_agree_with_the_published_metrics(digits):
    evaluation = evaluation_of(digits)
    test = digits.metrics["test"]
    assert evaluation.calibration.expected_error == pytest.approx(test["expected_calibration_error"])
    assert sum(b.count for b in evaluation.calibration.bins) == test["rows"]
    right = sum(b.count * b.accuracy for b in evaluation.calibration.bins)
    assert right / test["rows"] == pytest.approx(test["accuracy"])
    low, high = evaluation.interval
    assert low < test["accuracy"] < high


def test_many_classes_are_merged_without_losing_a_row():
    rng = np.random.default_rng(0)
    labels = np.array([f"c{i:02}" for i in range(30)])[np.arange(1200) % 30]
    model = fit(pa.table({"x": rng.normal(size=1200), "y": labels}), target="y", name="many", epochs=1)
    confusion = evaluation_of(model).confusion
    assert len(confusion.labels) == MAX_CLASSES
    assert confusion.merged == 30 - (MAX_CLASSES - 1)
    assert np.sum(confusion.counts) == len(model.split.test)


def test_residuals_and_the_largest_errors_are_those_of_the_answers(houses):
    evaluation = evaluation_of(houses)
    truth = houses.table.target[houses.split.test]
    errors = np.array(answers(houses)) - truth
    found = evaluation.residuals
    assert found.median_absolute == pytest.approx(np.median(np.abs(errors)), rel=1e-4)
    assert found.bias == pytest.approx(errors.mean(), rel=1e-3, abs=1e-3)
    assert sum(found.counts) == len(found.points) == len(truth)
    worst = evaluation.largest_errors[0]
    assert worst.row - 1 == houses.split.test[np.abs(errors).argmax()]
    assert worst.features == houses.table.example(worst.row - 1)
    assert evaluation.confusion is None
    assert evaluation.calibration is None


def test_the_largest_errors_are_named_by_their_rows_in_the_file_with_those_left_out():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=200)})
    frame["y"] = 2 * frame.x
    far = frame.assign(y=frame.y.where(frame.index != 60, 1e3))
    far.loc[:9, "y"] = np.nan
    choices = ColumnChoices(drop_missing_target=True)
    for test, row in ((far, 61), (far.dropna(), 51)):
        model = fit(frame, target="y", test=test, choices=choices, epochs=1)
        assert evaluation_of(model).largest_errors[0].row == row


def test_columns_that_matter_come_first_and_one_that_does_not_is_near_nothing(houses):
    importances = evaluation_of(houses).importances
    assert [importance.column for importance in importances] == ["size", "area", "rooms"]
    # y = b·size + …: permuting size adds twice its share of the variance to the error: 2·b²·var(size)/var(y).
    rows = houses.split.test
    size, price = houses.table.features["size"][rows], houses.table.target[rows]
    assert importances[0].mean == pytest.approx(2 * 9 * size.var() / price.var(), rel=0.2)
    assert abs(importances[2].mean) < 0.05


def test_a_column_that_the_answers_do_not_depend_on_loses_exactly_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    truth = (x[:, 0] > 0).astype(np.int64)

    def answer(rows):
        return np.column_stack([rows[:, 0] <= 0, rows[:, 0] > 0]).astype(np.float32)

    blocks = [("used", slice(0, 1)), ("unused", slice(1, 3))]
    used, unused = permutation_importance(
        answer, x, score=score_of("accuracy", truth), blocks=blocks, repeats=20, rng=rng
    )
    assert (unused.column, unused.mean, unused.std) == ("unused", 0, 0)
    assert used.mean == pytest.approx(0.5, abs=0.03)  # what remains is the accuracy of a coin flip
    with pytest.raises(ConfigError, match="repeats"):
        permutation_importance(answer, x, score=score_of("accuracy", truth), blocks=blocks, repeats=0, rng=rng)


def test_blocks_cover_the_encoded_row(houses):
    schema = houses.checkpoint.schema
    covered = [i for _, block in blocks_of(schema) for i in range(block.start, block.stop)]
    assert covered == list(range(schema.width))


def test_the_cost_of_importance_is_bounded(digits):
    summary = summarize(digits.checkpoint.config)
    assert affordable_rows(summary, columns=64, available=10_000) == ROWS
    assert affordable_rows(summary, columns=10_000_000, available=10_000) == 0
    fewer = affordable_rows(summary, columns=2_000, available=10_000)
    assert 0 < fewer < ROWS
    assert fewer * 2_000 * REPEATS * summary.multiply_adds < 100e9


@pytest.mark.parametrize("name", ["digits", "houses"])
def test_an_evaluation_is_json_and_the_same_twice(name, request):
    model = request.getfixturevalue(name)
    first, second = (json.dumps(evaluation_of(model).to_dict(), allow_nan=False) for _ in range(2))
    assert first == second
    assert json.loads(first)["rows"] == len(model.split.test)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_constant_that_is_named_counts_rows_by_weight_as_the_constant_column_does(task):
    rng = np.random.default_rng(0)
    value, weight = rng.normal(size=200), rng.uniform(0.1, 1, 200)
    y = np.where(value > 0.3, "rare", "often") if task == "classification" else value
    weight = np.where(value > 0.3, 10 * weight, weight)  # the rarer class weighs more
    frame = pd.DataFrame({"x": rng.normal(size=200), "y": y, "w": weight})
    model = fit(frame, target="y", choices=ColumnChoices(weight="w"), epochs=1, hidden_sizes=(4,))
    name = "accuracy" if task == "classification" else "r2"
    assert evaluation_of(model).trivial == pytest.approx(model.constant_metrics()[name])
    seen, truth = (frame.y.iloc[rows].to_numpy() for rows in (model.split.train, model.split.test))
    own = np.average(seen, weights=weight[model.split.train]) if task == "regression" else "rare"
    expected = oracle.r2_score(truth, np.full(len(truth), own)) if task == "regression" else (truth == own).mean()
    assert evaluation_of(model).trivial == pytest.approx(expected)
