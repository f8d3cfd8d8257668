"""Members by folds: no member learns from its fold, and every row outside of the test part validates once."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, mean_absolute_error

from models.errors import ConfigError, DataError
from models.network.mlp import MLP
from training.config import resolve_for_table
from training.data.column_choices import ColumnChoices
from training.data.folds import folds_of
from training.engines.trainer import Trainer
from training.fit import fit
from training.prepared_rows import prepare, split_of
from training.reporting.evaluation import evaluation_of
from training.reporting.html import html_report
from training.reporting.restored import restored
from training.resume import ResumeFile
from training.search import search
from training.sources import read_table

RUN = {"recipe": "default", "hidden_sizes": (12,), "epochs": 6, "members": 3, "folds": True}


def frame_of(rows, seed=0):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows)})
    frame["y"] = np.where(frame.a + 0.3 * rng.normal(size=rows) > 0.5, "yes", "no")
    return frame


def table_of(frame, settings=RUN, **choices):
    return read_table(frame, target="y", settings=settings, choices=ColumnChoices(**choices))


def folds(table, rows, count, seed=0):
    return folds_of(table, rows, count, rng=np.random.default_rng(seed))


def test_each_class_is_divided_evenly_and_every_row_is_in_one_fold():
    table, _ = table_of(frame_of(203))
    rows = np.random.default_rng(1).permutation(203)[:170]
    found = folds(table, rows, 5)
    assert set(found) == set(range(5))
    for label in (0, 1):
        counts = np.bincount(found[table.target[rows] == label], minlength=5)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(found)) <= 1
    assert (folds(table, rows, 5) == found).all()
    assert (folds(table, rows, 5, seed=1) != found).any()


def test_copies_of_a_row_are_in_one_fold():
    frame = frame_of(120)
    table, _ = table_of(pd.concat([frame, frame[:40], frame[:10]], ignore_index=True), equal_rows="together")
    found = folds(table, np.arange(table.rows), 4)
    for rows in pd.DataFrame(table.features).groupby(["a", "b"]).indices.values():
        assert len(set(found[rows])) == 1
    assert np.ptp(np.bincount(found)) <= 6


def test_groups_are_in_one_fold_and_times_make_blocks():
    frame = frame_of(150)
    grouped, config = table_of(frame.assign(person=np.arange(150) % 13), group="person")
    rows = np.arange(150)
    found = folds(grouped, rows, 4)
    assert set(found) == set(range(4))
    assert all(len(set(found[grouped.group == name])) == 1 for name in np.unique(grouped.group))
    split = split_of(grouped, config)
    assert not set(grouped.group[split.train]) & set(grouped.group[split.test])
    with pytest.raises(DataError, match="13 groups to learn from, and 14 folds"):
        folds(grouped, rows, 14)
    timed, _ = table_of(frame.assign(when=np.arange(150) // 3), time="when")
    order = np.random.default_rng(0).permutation(150)
    blocks = folds(timed, order, 5)
    times = np.asarray(timed.time, dtype=float)[order]
    edges = [(times[blocks == fold].min(), times[blocks == fold].max()) for fold in range(5)]
    assert all(earlier[1] < later[0] for earlier, later in pairwise(edges))


PLACES = np.repeat(np.arange(12), 20)  # groups, or times: 3 folds by time are rows 0 to 79, 80 to 159, and the rest


def with_rare(rows):
    """Returns a frame in which some rows are of a third class."""
    frame = frame_of(len(PLACES)).assign(place=PLACES)
    frame.loc[list(rows), "y"] = "rare"
    return frame


@pytest.mark.parametrize(
    ("role", "rare", "said"),
    [
        ("group", range(20, 40), r"Merge it with another class, name another group \(--group\), or leave"),
        ("group", range(20, 22), r"another class, leave its rows out \(--drop-rare-classes\), name another group"),
        ("time", range(25, 38), "learns from the others.* Merge it with another class, or leave out --folds"),
        ("time", range(95, 105), r"another class, take fewer folds \(--members\), or leave out --folds"),
    ],
)
def test_a_class_in_one_fold_only_is_refused_by_name(role, rare, said):
    # The member that answers the fold would be the one that never saw the class.
    table, _ = table_of(with_rare(rare), **{role: "place"})
    with pytest.raises(DataError, match=rf"class 'rare' of target 'y' is in fold [123] of 3 only, and .*{said}"):
        folds(table, np.random.default_rng(3).permutation(240), 3)


@pytest.mark.parametrize(
    ("role", "rare"), [("group", range(30, 50)), ("time", range(75, 85)), ("time", [0, 239]), (None, range(20, 22))]
)
def test_every_member_learns_every_class(role, rare):
    table, _ = table_of(with_rare(rare), **({} if role is None else {role: "place"}))
    rows = np.random.default_rng(3).permutation(240)
    found = folds(table, rows, 3)
    for fold in range(3):
        assert set(table.target[rows[found != fold]]) == {0, 1, 2}


def test_a_class_of_copies_of_one_row_is_refused_with_the_way_to_divide_them():
    frame = with_rare(range(20, 24)).drop(columns="place")
    frame.loc[20:23, ["a", "b"]] = 7.0
    table, _ = table_of(frame, equal_rows="together")
    with pytest.raises(DataError, match=r"class 'rare' .* divide equal rows by chance \(--equal-rows scatter\)"):
        folds(table, np.arange(240), 3)
    table, _ = table_of(frame, equal_rows="scatter")
    assert len(set(folds(table, np.arange(240), 3)[20:24])) > 1


@pytest.mark.parametrize("portfolio", [False, True])
def test_a_run_whose_class_lies_in_one_fold_is_refused_before_training(portfolio):
    choices = ColumnChoices(time="place")
    with pytest.raises(DataError, match="class 'rare' of target 'y' is in fold 1 of 3 only"):
        fit(with_rare(range(10)), target="y", name="t", choices=choices, portfolio=portfolio, **RUN)


def trainer_of(rows, config, y=None):
    data = rows.matrices()
    if y is not None:
        data = replace(data, y=y)
    return Trainer(config, rows.architecture, data, device=torch.device("cpu"))


def test_no_member_learns_from_its_fold():
    table, config = table_of(frame_of(90), RUN | {"label_smoothing": 0.0})
    rows = prepare(table, config)
    own = rows.split.folds == 1
    trainers = [trainer_of(rows, config), trainer_of(rows, config, np.where(own, 1 - rows.y["train"], rows.y["train"]))]
    for trainer in trainers:
        for _ in range(3):
            trainer.epoch()
    first, other = (trainer.network.parameters.flat for trainer in trainers)
    assert torch.equal(first[1], other[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[2], other[2])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_member_is_evaluated_on_its_fold(weighted):
    frame = frame_of(88)
    choices = {"weight": "w"} if weighted else {}
    table, config = table_of(frame.assign(w=np.arange(88) % 5) if weighted else frame, **choices)
    rows = prepare(table, config)
    trainer = trainer_of(rows, config)
    trainer.epoch()
    found = trainer.evaluate()
    data = rows.matrices()
    tensors = trainer.network.tensors()
    for member in range(3):
        own = rows.split.folds == member
        module = MLP.from_tensors(
            type(rows.architecture).from_dict(rows.architecture.to_dict() | {"members": 1}),
            {name: tensor[member] for name, tensor in tensors.items()},
        ).eval()
        with torch.no_grad():
            logits = module(torch.from_numpy(data.x[own])).double().numpy()
        weight = rows.weight["train"][own] if weighted else np.ones(own.sum())
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        loss = -(weight * logs[np.arange(own.sum()), data.y[own]]).sum() / weight.sum()
        wrong = (weight * (logits.argmax(axis=1) != data.y[own])).sum() / weight.sum()
        assert found.loss[member].item() == pytest.approx(loss, rel=1e-4)
        assert found.error[member].item() == pytest.approx(wrong, abs=1e-6)


@pytest.mark.parametrize("shops", [6, 24])  # one-hot features, and indices of an embedding
@pytest.mark.parametrize("recipe", ["default", "classic"])
def test_a_member_answers_a_category_that_it_never_saw_as_unknown(shops, recipe):
    frame = frame_of(240).assign(shop=[f"shop {row % shops}" for row in range(240)])
    settings = RUN | {"recipe": recipe, "initialization": "he" if recipe == "classic" else "data"}
    table, config = table_of(frame.assign(place=frame["shop"]), settings, group="place")
    rows = prepare(table, config)
    trainer = trainer_of(rows, config)
    for _ in range(3):
        trainer.epoch()
    (of_shop,) = (list(features) for features in rows.matrices().categories)
    tensors, single = trainer.network.tensors(), replace(rows.architecture, members=1)
    known = rows.x["train"]
    unknown = known.copy()
    unknown[:, of_shop] = 0
    for member in range(3):
        module = MLP.from_tensors(single, {name: tensor[member] for name, tensor in tensors.items()}).eval()
        with torch.no_grad():
            change = (module(torch.from_numpy(known)) - module(torch.from_numpy(unknown))).abs().amax(dim=1).numpy()
        own = rows.split.folds == member
        assert change[own].max() == 0
        assert change[~own].min() > 0


def test_validation_figures_are_those_of_the_out_of_fold_answers():
    model = fit(frame_of(120), target="y", **RUN)
    found, network = model.out_of_fold, model.checkpoint.inference_network()
    assert model.split.sizes() == {"train": 102, "validation": 102, "test": 18}
    assert sorted([*found.rows, *model.split.test]) == list(range(120))
    x = prepare(model.table, resolve_for_table(RUN, model.table)).x["train"]
    of_members = network.forward_members(x)
    np.testing.assert_allclose(found.answers, of_members[found.fold, np.arange(102)], atol=2e-6)
    truth = model.table.target[found.rows]
    honest = found.answers.astype(np.float64)
    honest /= honest.sum(axis=1, keepdims=True)  # scikit-learn warns of float32 sums
    figures = model.metrics["validation"]
    assert figures["accuracy"] == pytest.approx(accuracy_score(truth, found.answers.argmax(axis=1)))
    assert figures["log_loss"] == pytest.approx(log_loss(truth, honest), rel=1e-5)
    report = html_report(model, "flowers@1", evaluation_of(model))
    section = report.split("<h2>Answers out of fold</h2>")[1].split("</section>")[0]
    assert "102 rows" in section
    assert "Confusion matrix" in section
    confusion = evaluation_of(model).out_of_fold.confusion
    assert sum(map(sum, confusion.counts)) == 102
    again = restored(model.checkpoint, model.table)
    np.testing.assert_array_equal(again.split.folds, model.split.folds)
    np.testing.assert_array_equal(again.split.train, model.split.train)


def test_a_regression_by_folds_answers_in_the_unit_of_the_target():
    frame = frame_of(150).assign(y=lambda frame: 1e6 + 10 * frame.a)
    model = fit(frame, target="y", **RUN)
    found = model.out_of_fold
    truth = model.table.target[found.rows]
    assert found.answers.dtype == np.float64
    figure = model.metrics["validation"]["mae"]
    assert figure == pytest.approx(mean_absolute_error(truth, found.answers[:, 0]))
    assert figure < 12
    assert evaluation_of(model).out_of_fold.residuals is not None


def test_folds_resume_to_the_same_bytes(tmp_path):
    path, seen = tmp_path / "state.safetensors", []
    frame = frame_of(90)
    whole = fit(frame, target="y", **RUN)
    fit(frame, target="y", **RUN, keep=ResumeFile(path), on_epoch=seen.append, should_stop=lambda: len(seen) == 2)
    again = fit(frame, target="y", **RUN, keep=ResumeFile(path), resume=True)
    assert again.trained.history == whole.trained.history
    assert again.checkpoint.header() == whole.checkpoint.header()
    for name, tensor in whole.checkpoint.tensors.items():
        np.testing.assert_array_equal(again.checkpoint.tensors[name], tensor)


@pytest.mark.parametrize("settings", [{"members": 1}, {"split": None}, {"engine": "numpy", "recipe": "classic"}])
def test_folds_without_members_or_parts_are_refused(settings):
    with pytest.raises(ConfigError, match=r"folds|members"):
        fit(frame_of(60), target="y", **RUN | settings)


def test_a_search_has_no_folds():
    with pytest.raises(ConfigError, match="no folds"):
        search(frame_of(60), target="y", trials=1, settings=RUN)
