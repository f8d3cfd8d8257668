"""The trials of a search for a metric are runs for the metric, and the figure of the metric ranks the trials."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from models.answering import Answerer
from models.errors import ConfigError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.engines.engine import SELECTION_MEASURES
from training.fit import fit
from training.prepared_rows import split_of
from training.search import search
from training.search.default_spaces import default_space
from training.search.population.search import search_population
from training.search.ranking import pruning_measure, ranking_figure
from training.search.space import FloatRange, SearchSpace
from training.search.space_text import read_variation
from training.search.trials.folder import StudyFolder
from training.sources import read_table

pytestmark = pytest.mark.slow

SPACE = SearchSpace(parameters={"learning_rate": FloatRange(low=1e-3, high=0.3, log=True)})
RUN = {"recipe": "default", "hidden_sizes": (8,), "frequencies": 0, "epochs": 6}
SCATTER = ColumnChoices(equal_rows="scatter")


def classes(rows=300):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    return frame.assign(y=np.where(frame.a + 0.8 * rng.normal(size=rows) > 0.9, "yes", "no"))


def values(rows=300):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"a": rng.uniform(-1, 1, size=rows)})
    return frame.assign(y=3 * frame.a + rng.exponential(size=rows))


def pinball(truth, answers):
    return oracle.mean_pinball_loss(truth, answers, alpha=0.8)


ORACLES = [
    ("auc", classes, "roc_auc", oracle.roc_auc_score, max),
    ("log-loss", classes, "log_loss", oracle.log_loss, min),
    ("accuracy", classes, "accuracy", oracle.accuracy_score, max),
    ("balanced-accuracy", classes, "balanced_accuracy", oracle.balanced_accuracy_score, max),
    ("f1", classes, "f1_macro", lambda truth, guess: oracle.f1_score(truth, guess, average="macro"), max),
    ("rmse", values, "rmse", oracle.root_mean_squared_error, min),
    ("mae", values, "mae", oracle.mean_absolute_error, min),
    ("r2", values, "r2", oracle.r2_score, max),
    ("quantile", values, "pinball_loss", pinball, min),
]


@pytest.mark.parametrize(("metric", "frame", "figure", "measure", "best"), ORACLES, ids=[case[0] for case in ORACLES])
def test_the_winner_is_best_by_the_metric_of_the_answers_it_serves(metric, frame, figure, measure, best):
    frame = frame()
    quantile = 0.8 if metric == "quantile" else None
    result = search(
        frame, target="y", choices=SCATTER, trials=4, settings=RUN, space=SPACE, metric=metric, quantile=quantile,
        pruner="none",
    )  # fmt: skip
    assert result.metric == figure
    assert {trial.state for trial in result.trials} == {"finished"}
    assert result.winner.value == best(trial.value for trial in result.trials)
    training = result.checkpoint.training
    assert (training["metric"], training.get("quantile")) == (metric, quantile)
    # The same figure from the rows of the validation part and scikit-learn.
    settings = RUN | {"metric": metric, "quantile": quantile}
    table, config = read_table(frame, target="y", choices=SCATTER, settings=settings)
    rows = frame.iloc[split_of(table, config).validation]
    answerer = Answerer(result.checkpoint)
    if metric in ("auc", "log-loss"):
        probabilities = answerer.predict_proba(rows)
        assert measure(rows.y == "yes", probabilities[:, 1]) == pytest.approx(result.winner.value, rel=1e-5)
    else:
        assert measure(rows.y, answerer.predict(rows)) == pytest.approx(result.winner.value, rel=1e-5)


@pytest.mark.parametrize(("metric", "frame", "figure", "measure", "best"), ORACLES, ids=[case[0] for case in ORACLES])
def test_rows_count_in_the_ranking_by_their_weights(metric, frame, figure, measure, best):
    frame = frame().assign(w=lambda rows: np.arange(len(rows)) % 4)  # a quarter of the rows weighs nothing
    quantile = 0.8 if metric == "quantile" else None
    run = RUN | {"epochs": 30}
    choices = dataclasses.replace(SCATTER, weight="w")
    one = search(
        frame, target="y", choices=choices, trials=1, settings=run, space=SPACE, metric=metric, quantile=quantile,
    )  # fmt: skip
    settings = run | {"metric": metric, "quantile": quantile}
    table, config = read_table(frame, target="y", choices=choices, settings=settings)
    rows = frame.iloc[split_of(table, config).validation]
    # An oracle of whole weights: each row as often as it weighs.
    rows = rows.loc[rows.index.repeat(rows.w)]
    answerer = Answerer(one.checkpoint)
    answers = answerer.predict_proba(rows)[:, 1] if metric in ("auc", "log-loss") else answerer.predict(rows)
    truth = rows.y == "yes" if metric in ("auc", "log-loss") else rows.y
    assert one.winner.value == pytest.approx(measure(truth, answers), rel=1e-5)
    assert one.winner.value != pytest.approx(one.winner.metrics[figure], rel=1e-5)


def test_trials_with_balanced_classes_are_ranked_by_balanced_accuracy():
    result = search(classes(), target="y", trials=2, settings=RUN | {"class_weight": "balanced"}, space=SPACE)
    assert result.metric == "balanced_accuracy"
    assert result.winner.value == max(trial.value for trial in result.trials)
    with pytest.raises(ConfigError, match="class_weight does not vary: it decides how rows count"):
        read_variation("class_weight=none|balanced")


def test_the_trial_of_the_defaults_is_the_run_of_fit_for_the_same_metric():
    one = search(classes(), target="y", trials=1, settings=RUN, space=SPACE, metric="auc")
    fitted = fit(classes(), target="y", metric="auc", **RUN)
    assert one.checkpoint.training == fitted.checkpoint.training
    for name, tensor in fitted.checkpoint.tensors.items():
        np.testing.assert_array_equal(one.checkpoint.tensors[name], tensor)


def test_what_the_metric_decides_does_not_vary_by_itself():
    def varied(**settings):
        table, config = read_table(classes(), target="y", settings=settings)
        return set(default_space(config, task=table.task).parameters)

    assert varied() - varied(metric="auc") == {"label_smoothing", "activation"}
    assert varied(metric="accuracy") == varied()
    assert varied(recipe="classic", metric="auc") == varied(recipe="classic")


def test_trials_are_pruned_by_the_error_of_the_figure_where_epochs_have_it():
    assert pruning_measure("roc_auc", {}) == SELECTION_MEASURES["auc"]
    assert pruning_measure("balanced_accuracy", {}) == SELECTION_MEASURES["balanced-error"]
    assert pruning_measure("f1_macro", {}) == pruning_measure("mae", {}) == "validation_loss"
    # If the rule of the best epoch varies, only some trials have its measure, and it compares with no loss.
    assert pruning_measure("roc_auc", {"select_by": None}) == "validation_loss"


@pytest.mark.parametrize(
    ("metric", "figure", "score"),
    [
        ("roc_auc", "auc", lambda truth, scores: oracle.roc_auc_score(truth, scores)),
        ("balanced_accuracy", "balanced-accuracy", None),
        ("mae", "mae", None),
    ],
)
def test_the_standard_error_is_that_of_other_rows(metric, figure, score):
    # Against the spread of the figure over resampled validation rows (the bootstrap, Efron 1979).
    frame = (values if metric == "mae" else classes)(1200)
    how = {"target": "y", "trials": 1, "space": SPACE, "settings": RUN | {"split": (0.4, 0.4, 0.2)}}
    result = search(frame, choices=SCATTER, metric=figure, **how)
    table, config = read_table(frame, target="y", choices=SCATTER, settings=how["settings"] | {"metric": figure})
    rows = frame.iloc[split_of(table, config).validation]
    answerer, truth = Answerer(result.checkpoint), rows.y.to_numpy()
    if score is not None:
        truth, answers = truth == "yes", answerer.predict_proba(rows)[:, 1]
    else:
        answers = np.array(answerer.predict(rows))
        score = oracle.mean_absolute_error if metric == "mae" else oracle.balanced_accuracy_score
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(300)]
    assert result.winner.error == pytest.approx(np.std([score(truth[d], answers[d]) for d in drawn]), rel=0.25)


def test_a_study_is_not_continued_for_another_metric(tmp_path):
    how = {"target": "y", "trials": 1, "settings": RUN, "space": SPACE}
    with StudyFolder(tmp_path, "study") as folder:
        search(classes(), **how, folder=folder, metric="auc")
        again = search(classes(), **how, folder=folder, metric="auc")
        assert len(again.trials) == 1
        with pytest.raises(ConfigError, match="that train for auc, and this search has trials that train for f1"):
            search(classes(), **how, folder=folder, metric="f1")
        with pytest.raises(ConfigError, match="this search has trials that are only ranked by log_loss"):
            search(classes(), **how, folder=folder)
    with StudyFolder(tmp_path, "values") as folder:
        search(values(), **how, folder=folder, metric="quantile", quantile=0.9)
        with pytest.raises(
            ConfigError, match=r"for quantile 0\.9, and this search has trials that train for quantile 0\.5"
        ):
            search(values(), **how, folder=folder, metric="quantile", quantile=0.5)


def test_a_metric_that_cannot_be_is_refused_before_any_trial():
    with pytest.raises(ConfigError, match="auc ranks two classes"):
        search("iris", trials=1, settings=RUN, space=SPACE, metric="auc")
    with pytest.raises(ConfigError, match="numpy engine has no metric='auc'"):
        search("breast_cancer", trials=1, settings={"engine": "numpy"}, space=SPACE, metric="auc")
    with pytest.raises(ConfigError, match="metric must be one of auc"):
        search("iris", trials=1, settings=RUN, space=SPACE, metric="speed")
    with pytest.raises(ConfigError, match="name one metric"):
        search("iris", trials=1, settings=RUN | {"metric": "f1"}, space=SPACE, metric="log-loss")
    table, config = read_table("iris", settings=RUN)
    with pytest.raises(ConfigError, match="resolve them with metric='f1'"):
        ranking_figure(table, config, "f1")


@pytest.mark.parametrize("metric", ["auc", "balanced-accuracy", "mae", "quantile"])
def test_a_population_is_ranked_by_the_figure_of_its_metric(metric):
    is_quantile = metric == "quantile"
    frame = values() if is_quantile or metric == "mae" else classes()
    more = {"quantile": 0.8} if is_quantile else {}
    table, config = read_table(frame, target="y", settings=RUN | {"metric": metric, **more})
    result = search_population(table, config, members=3, every=3, device="cpu")
    best = max if metric in ("auc", "balanced-accuracy") else min
    assert result.run.best_value == best(result.run.values.ravel())
    served = result.model.metrics["validation"][result.metric]
    assert served == pytest.approx(result.run.best_value, rel=0.05)  # rounded and clamped, and decided by other shares


def test_the_command_says_what_the_search_is_for(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    classes().to_csv("t.csv", index=False)
    line = ["search", "t.csv", "--target", "y", "--hidden", "8", "--frequencies", "0", "--epochs", "3",
            "--store", "store", "--vary", "dropout=0..0.2", "--trials", "2"]  # fmt: skip
    assert main([*line, "--metric", "auc"]) == 0
    assert "roc_auc" in capsys.readouterr().out
    assert "ROC AUC on the validation part" in (tmp_path / "searches/t/search.html").read_text()
    assert json.loads((tmp_path / "searches/t/search.json").read_text())["metric"] == "roc_auc"
    assert Store(tmp_path / "store").load("t").checkpoint.training["metric"] == "auc"
    assert main([*line, "--metric", "f1"]) == 2
    error = capsys.readouterr().err
    assert "trials that train for auc" in error
    assert error.count("\n") == 1
    # The leader of a search over machines stores the metric for its workers, and refuses another one.
    shared = [*line[:-1], "1", "--storage", f"journal:{tmp_path}/journal", "--no-publish", "--quiet"]
    assert main([*shared, "--metric", "balanced-accuracy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metric"] == "balanced_accuracy"
    assert main([*shared, "--metric", "auc"]) == 2
    assert "trials that train for balanced-accuracy" in capsys.readouterr().err
    worker = ["search", "--worker", "--storage", f"journal:{tmp_path}/journal", "--quiet"]
    assert main(worker) == 0
    assert main([*worker, "--metric", "auc"]) == 2
    assert "--metric is not for a worker" in capsys.readouterr().err
