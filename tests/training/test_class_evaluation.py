"""A report's metrics for each class equal those of scikit-learn on the same predictions."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from training.data.preprocessing import encode
from training.fit import fit
from training.reporting.card import model_card
from training.reporting.class_evaluation import COST_RATIOS, MAX_DRAWN, MAX_LISTED, class_evaluation, curves_of
from training.reporting.evaluation import evaluation_of
from training.reporting.figures import figure
from training.reporting.html import html_report
from training.reporting.sentences import beside_constant


def drawn(rows=2000, seed=0):
    """Draws calibrated probabilities of a rare positive class, with ties, and labels to match."""
    rng = np.random.default_rng(seed)
    p = (1 / (1 + np.exp(3.5 - 1.5 * rng.normal(size=rows)))).round(3)
    return p, rng.random(rows) < p


def test_curves_and_areas_are_scikit_learns():
    p, is_yes = drawn()
    curves = curves_of("yes", p, is_yes)
    assert curves.roc_auc == pytest.approx(oracle.roc_auc_score(is_yes, p))
    assert curves.average_precision == pytest.approx(oracle.average_precision_score(is_yes, p))
    alarms, found, _ = oracle.roc_curve(is_yes, p, drop_intermediate=False)
    theirs = set(zip(alarms.round(9), found.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in curves.roc} <= theirs
    precision, recall, _ = oracle.precision_recall_curve(is_yes, p)
    pairs = set(zip(recall.round(9), precision.round(9), strict=True))
    assert {(round(x, 9), round(y, 9)) for x, y in curves.precision_recall} <= pairs
    assert curves.roc[-1] == (1.0, 1.0)


def test_small_probabilities_are_seen_in_groups_of_equal_size():
    p, is_yes = drawn(20_000)
    bins = curves_of("yes", p, is_yes).calibration
    assert {b.count for b in bins} == {2000}
    assert bins[0].predicted < 0.01
    assert sum(b.count * b.happened for b in bins) == pytest.approx(is_yes.sum())
    assert sum(b.low <= b.predicted <= b.high for b in bins) >= 8  # calibrated: about 19 of 20 on average
    # A floor of 2 % shows here, although it hardly moves the confidence in the likelier class.
    floored = curves_of("yes", np.maximum(p, 0.02), is_yes).calibration
    assert sum(b.low <= b.predicted <= b.high for b in floored) <= 7


def test_precision_recall_and_costs_are_counts():
    p, is_yes = drawn()
    found = class_evaluation(
        ("no", "yes"), np.column_stack([1 - p, p]), is_yes.astype(np.int64), has_probabilities=True
    )
    yes, no = found.figures
    assert (yes.label, no.label, found.rare) == ("yes", "no", "yes")
    assert yes.precision == pytest.approx(oracle.precision_score(is_yes, p > 0.5))
    assert yes.recall == pytest.approx(oracle.recall_score(is_yes, p > 0.5))
    assert yes.f1 == pytest.approx(oracle.f1_score(is_yes, p > 0.5))
    assert [cost.ratio for cost in found.costs] == list(COST_RATIOS)
    for cost in found.costs:
        named = p >= 1 / (1 + cost.ratio)
        tn, fp, fn, tp = oracle.confusion_matrix(is_yes, named).ravel()
        assert (cost.missed, cost.false_alarms, cost.named) == (fn, fp, tp + fp)
        assert cost.cost == cost.ratio * fn + fp
        assert cost.constant == min(cost.ratio * (fn + tp), fp + tn)


def test_a_step_without_probabilities_and_classes_without_rows_have_no_curves():
    answers = np.eye(3)[[0, 1, 0, 1]]
    found = class_evaluation(("a", "b", "c"), answers, np.array([0, 1, 1, 1]), has_probabilities=False)
    assert (found.curves, found.costs) == ((), ())
    assert found.figures[0].label == "c"
    assert (found.figures[0].precision, found.figures[0].recall) == (None, None)
    one = class_evaluation(("a", "b"), np.full((4, 2), 0.5), np.zeros(4, dtype=np.int64), has_probabilities=True)
    assert (one.curves, one.costs) == ((), ())


def test_many_classes_are_listed_to_a_limit_and_the_rarest_are_drawn():
    rng = np.random.default_rng(0)
    answers = rng.dirichlet(np.ones(60), 3000)
    truth = np.concatenate([np.arange(60), rng.integers(10, 60, 2940)])
    found = class_evaluation(tuple(f"c{i}" for i in range(60)), answers, truth, has_probabilities=True)
    assert len(found.figures) == MAX_LISTED
    assert len(found.curves) == MAX_DRAWN
    assert {curve.label for curve in found.curves} <= {f"c{i}" for i in range(10)}


@pytest.fixture(scope="module")
def rare():
    p, is_yes = drawn(800)
    frame = pd.DataFrame({"a": np.log((p + 1e-3) / (1 - p)), "b": np.arange(800) % 7})
    label = np.where(is_yes, "yes <b>", "no | no")
    return fit(frame.assign(y=label), target="y", name="rare", epochs=6, hidden_sizes=(8,))


def test_the_report_and_the_card_have_it_all_and_begin_with_the_constant_answer(rare):
    evaluation = evaluation_of(rare)
    page = html_report(rare, "rare@1", evaluation)
    for heading in ("Classes", "Calibration", "What a threshold costs"):
        assert f"<h2>{heading}</h2>" in page
    assert "yes <b>" not in page
    assert page.index("The constant answer") < page.index("<td", page.index("<h2>Metrics</h2>"))
    card = model_card(rare, "rare@1", evaluation)
    assert card.index("The constant answer") < card.index("| constant answer, test |")
    assert "yes \\<b\\> (" in card  # the class has few training rows
    constant = rare.constant_metrics()["log_loss"]
    assert f"log loss {constant:.4f}" in card
    assert f"log loss {constant:.4f}" in page


def test_the_report_explains_losses_and_the_epoch_in_plain_words(rare):
    page = html_report(rare, "rare@1", evaluation_of(rare))
    assert "learns the training rows by heart (overfitting)" in page
    assert f"least validation loss of {rare.trained.epochs_run}" in page  # 90 % of rows are "no": selected by the loss
    assert "kept, of" not in page
    assert "Not for rows from elsewhere" in model_card(rare, "rare@1", evaluation_of(rare))


def imbalanced(rows=1500):
    rng = np.random.default_rng(3)
    x = rng.normal(size=rows)
    return pd.DataFrame({"x": x, "y": np.where(rng.random(rows) < 1 / (1 + np.exp(4 - 1.5 * x)), "yes", "no")})


@pytest.mark.parametrize("settings", [{"metric": "balanced-accuracy"}, {"metric": "f1"}, {"class_weight": "balanced"}])
def test_a_model_for_rare_classes_is_judged_by_its_figure_and_thresholds_follow_its_shift(settings):
    model = fit(imbalanced(), target="y", epochs=20, hidden_sizes=(8,), **settings)
    constant, ours = model.constant_metrics(), model.metrics["test"]
    name = "f1_macro" if settings.get("metric") == "f1" else "balanced_accuracy"
    truth = model.table.target[model.split.test]
    answers = model.checkpoint.inference_network().answer(
        encode(model.checkpoint.schema, model.table, model.split.test)
    )
    score = oracle.f1_score if name == "f1_macro" else oracle.balanced_accuracy_score
    more = {"average": "macro"} if name == "f1_macro" else {}
    assert ours[name] == pytest.approx(score(truth, answers.argmax(axis=1), **more))
    assert constant[name] == pytest.approx(score(truth, np.zeros(len(truth)), **more))
    assert ours[name] > constant[name] + 0.1
    assert name == "f1_macro" or ours["log_loss"] > constant["log_loss"], "which is no reason to call it useless"
    sentence = beside_constant(model)
    assert "no better" not in sentence
    assert f"{figure(constant[name])} on the test part; this model has {figure(ours[name])}." in sentence

    evaluation = evaluation_of(model).classes
    # The probabilities of the table, by Bayes: the odds over the factor of the class weights or of the decision.
    seen = model.table.target[model.split.train]
    if "class_weight" in settings:
        factor = (seen == 0).sum() / (seen == 1).sum()
    else:
        shift = model.checkpoint.training["decision"]["shift"]
        factor = np.exp(shift[1] - shift[0])
    assert evaluation.odds_factor == pytest.approx(factor)
    odds = answers[:, 1] / (1.0 - answers[:, 1]) / factor
    for cost in evaluation.costs:
        named = odds / (1 + odds) >= 1 / (1 + cost.ratio)
        assert (cost.named, cost.missed) == (named.sum(), (truth[~named] == 1).sum())
    page = html_report(model, "rare@1", evaluation_of(model))
    assert f"as if a miss cost {factor:.3g} false alarms" in page
    assert "naming every row so and none. The label that is served is the more probable one: 1" not in page


def test_a_model_for_another_metric_that_learned_nothing_is_called_so():
    frame = imbalanced(600)
    frame["x"] = np.random.default_rng(0).permutation(frame.x)
    model = fit(frame, target="y", epochs=2, hidden_sizes=(8,), metric="auc", seed=1)
    sentence = beside_constant(model)
    assert "has ROC AUC 0.5000 on the test part" in sentence
    assert ("no better" in sentence) == (model.metrics["test"]["roc_auc"] <= 0.5)
