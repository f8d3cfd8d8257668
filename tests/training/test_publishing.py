"""Publishing: which model goes live, which is kept, what the comparison says, and the exit code."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as oracle

from models.checkpoint import load_checkpoint
from models.columns.encoding import RowEncoder
from models.errors import DataError
from models.store import Store
from training.cli import main
from training.data.column_choices import ColumnChoices
from training.fit import fit
from training.reporting.served import compare_with_served

QUICK = ("--hidden", "8", "--device", "cpu", "--no-report", "--quiet")
GOOD = {"recipe": "classic", "hidden_sizes": (16,), "epochs": 60, "learning_rate": 0.02, "device": "cpu"}
POOR = {**GOOD, "epochs": 1}


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs a command in this process on a store of its own; returns (exit code, last line of stdout, stderr)."""
    monkeypatch.setenv("AXON_STORE", "store")
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, (captured.out.splitlines() or [""])[-1], captured.err

    return run_here


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def table(rows=400, seed=0, noise=0.3):
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows), "c": rng.choice(["x", "y"], rows)})
    frame["y"] = np.where(frame.a * frame.b + noise * rng.normal(size=rows) > 0, "up", "down")
    return frame


def test_a_model_that_is_not_published_is_published_later_with_its_pages(command, store):
    code, last, err = command("fit", "xor", "--epochs", 2, "--no-publish")
    assert (code, last) == (0, "kept store/.unpublished/xor-1/model.safetensors")
    assert err.splitlines()[-1].endswith(
        "python -m training publish store/.unpublished/xor-1/model.safetensors --store store"
    )
    assert store.entries() == []
    kept = load_checkpoint(Path(last.removeprefix("kept ")))
    assert command("publish", last.removeprefix("kept ")) == (0, "published xor@1", "")
    assert store.load("xor").digest == kept.digest
    assert {path.name for path in (store.root / "xor/1").iterdir()} == {"model.safetensors", "report.html", "README.md"}
    assert command("publish", "store/.unpublished/xor-1", "--name", "other")[1] == "published other@1"
    code, last, _ = command("fit", "xor", "--epochs", 2, "--no-publish", *QUICK)
    assert last == "kept store/.unpublished/xor-2/model.safetensors", "nothing is written over"


def test_a_bucket_that_refuses_the_pages_has_the_model_all_the_same(command, tmp_path, monkeypatch):
    monkeypatch.setenv("AXON_STORE_CACHE", str(tmp_path / "cache"))
    _, last, _ = command("fit", "xor", "--epochs", 2, "--no-publish")
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (bucket / "pages").write_text("a file in the way")
    code, said, err = command("publish", last.removeprefix("kept "), "--store", f"file://{bucket}")
    assert (code, said) == (0, "published xor@1")
    assert err.startswith(f"warning: xor@1 has no report: file://{bucket}: ")
    assert err.count("\n") == 1


def test_publish_takes_no_readme_that_is_not_the_models(command, store, tmp_path):
    command("fit", "xor", "--epochs", 2, "--no-publish", *QUICK)
    (tmp_path / "store/.unpublished/xor-1/README.md").write_text("# My project")
    assert command("publish", "store/.unpublished/xor-1")[:2] == (0, "published xor@1")
    assert {path.name for path in (store.root / "xor/1").iterdir()} == {"model.safetensors"}
    (tmp_path / "damaged.safetensors").write_bytes(b"x")
    for wrong in ("damaged.safetensors", "nothing.safetensors", "."):
        code, _, err = command("publish", wrong)
        assert code == 2
        assert err.startswith("error: ")


def test_a_model_that_lost_to_a_baseline_is_kept_and_published_on_request(command, store):
    arguments = ("fit", "iris", "--epochs", 1, "--baselines", *QUICK)
    code, last, err = command(*arguments)
    assert (code, last) == (3, "kept store/.unpublished/iris-1/model.safetensors")
    assert "iris is not published. Use " in err
    assert store.entries() == []
    assert command(*arguments, "--publish", "always")[:2] == (0, "published iris@1")
    code, _, _ = command(*arguments, "--no-publish")
    assert code == 0


def test_the_linear_model_itself_does_not_lose_to_the_linear_model(command):
    linear = ("--hidden", "none", "--recipe", "classic", "--epochs", 200, "--learning-rate", "0.05")
    code, last, err = command("fit", "diabetes", *linear, "--baselines", "--no-report", "--quiet", "--device", "cpu")
    assert (code, last) == (0, "published diabetes@1"), err


def test_json_tells_where_a_model_is_that_was_not_published(command, capsys):
    assert main(["fit", "xor", "--epochs", "2", "--no-publish", "--json", *QUICK]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["version"], told["name"]) == (None, None, "xor")
    assert told["kept"] == "store/.unpublished/xor-1/model.safetensors"


@pytest.mark.slow
def test_if_better_publishes_what_is_better_and_keeps_what_is_not(command, store, tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    run = ("fit", "t.csv", "--target", "y", "--recipe", "classic", "--hidden", 16, "--learning-rate", "0.02")
    run = (*run, "--publish", "if-better", "--no-report", "--quiet", "--device", "cpu")
    assert command(*run, "--epochs", 1)[:2] == (0, "published t@1"), "nothing is served yet"
    code, last, err = command(*run, "--epochs", 1)
    assert (code, last) == (0, "kept store/.unpublished/t-1/model.safetensors")
    assert command(*run, "--epochs", 60)[:2] == (0, "published t@2")
    code, last, err = command(*run, "--epochs", 1)
    assert (code, last) == (0, "kept store/.unpublished/t-2/model.safetensors")
    # The version that the alias names counts, not the newest one.
    command("promote", "t@1")
    code, last, err = command(*run, "--epochs", 60)
    assert (code, last) == (0, "published t@3")
    # A model that cannot be compared is kept, and the exit code says so.
    table().assign(y=lambda t: t.a).to_csv(tmp_path / "t.csv", index=False)
    code, last, err = command(*run, "--epochs", 1)
    assert code == 3
    assert "t@1 predicts classes of 'y', and this run values" in err


@pytest.mark.slow
def test_a_search_is_published_by_the_same_rules(command, store, tmp_path):
    table().to_csv(tmp_path / "t.csv", index=False)
    fit("t.csv", target="y", **GOOD).publish(store)
    search = ("search", "t.csv", "--target", "y", "--engine", "numpy", "--epochs", 1, "--hidden", 8, "--quiet")
    code, last, _ = command(*search, "--trials", 1, "--publish", "if-better")
    assert (code, last) == (0, "kept searches/t/trial-0.safetensors")
    assert command(*search, "--trials", 1)[:2] == (0, "published t@2")
    assert command("publish", "searches/t/trial-0.safetensors")[1] == "published t@3"
    assert store.load("t@2").digest == store.load("t@3").digest


@pytest.mark.parametrize("target", ["classes", "values"])
def test_the_difference_and_its_standard_error_are_those_of_the_rows(tmp_path, target):
    frame = table()
    if target == "values":
        frame["y"] = frame.a * frame.b + np.random.default_rng(1).normal(0, 0.3, len(frame))
    store = Store(tmp_path)
    before, now = (fit(frame, target="y", name="t", **settings) for settings in (POOR, GOOD))
    found = compare_with_served(now.checkpoint, now.table, now.split, before.publish(store))
    test = frame.iloc[now.split.test]
    rows = test[["a", "b", "c"]].to_dict("records")
    new, old = (pd.Series(model.predict(rows), index=test.index) for model in (now, before))
    if target == "classes":
        leads = {"accuracy": (new == test.y).astype(float) - (old == test.y).astype(float)}
        of_truth = [
            model.checkpoint.inference_network().forward(RowEncoder(model.checkpoint.schema).encode_matrix(rows))[
                np.arange(len(test)), (test.y == "up").to_numpy().astype(int)
            ]
            for model in (now, before)
        ]
        leads["log_loss"] = pd.Series(np.log(of_truth[0].astype(float)) - np.log(of_truth[1].astype(float)))
    else:
        leads = {"r2": ((old - test.y) ** 2 - (new - test.y) ** 2) / test.y.var(ddof=0)}
    assert [difference.measure for difference in found.differences] == list(leads)
    for difference in found.differences:
        assert difference.lead == pytest.approx(leads[difference.measure].mean(), rel=1e-5)
        assert difference.error == pytest.approx(leads[difference.measure].sem(), rel=1e-5)
    assert found.is_better
    assert found.notes == ()


def test_the_comparison_says_when_it_may_not_be_fair(tmp_path):
    store, frame = Store(tmp_path), table()
    served = fit(frame[:300], target="y", name="t", **POOR).publish(store)
    now = fit(frame, target="y", name="t", **POOR)
    [note] = compare_with_served(now.checkpoint, now.table, now.split, served).notes
    assert "t@1 was trained on another table or split and may have seen some of these rows" in note
    gaps = frame.assign(a=frame.a.where(frame.index % 5 > 0))
    now = fit(gaps, target="y", name="t", **POOR)
    found = compare_with_served(now.checkpoint, now.table, now.split, served)
    missing = int(gaps.a.iloc[now.split.test].isna().sum())
    assert found.rows == len(now.split.test) - missing
    assert f"t@1 refuses {missing} test rows, which were left out." in found.notes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.rename(columns={"y": "z"}), "t@1 predicts 'y', and this run 'z'"),
        (
            lambda t: t.assign(y=(t.y == "up").astype(int)),
            "labels of t@1 are of type str, and those of this run of type int",
        ),
        (lambda t: t.drop(columns="c"), "takes the column 'c', which this run does without"),
        (lambda t: t.assign(c=t.a), "reads the column 'c' as names, and this run as numbers"),
    ],
)
def test_what_cannot_be_compared_is_told(tmp_path, change, said):
    served = fit(table(), target="y", name="t", **POOR).publish(Store(tmp_path))
    frame = change(table()).assign(d=table(seed=5).a)
    now = fit(frame, target="z" if "z" in frame else "y", name="t", choices=ColumnChoices(keep_constant=True), **POOR)
    with pytest.raises(DataError, match=said):
        compare_with_served(now.checkpoint, now.table, now.split, served)


def test_versions_with_balanced_classes_are_compared_with_each_other_alone(tmp_path):
    frame = table(600)
    frame = frame[(frame.y == "up") | (frame.index % 6 == 0)]
    models = {
        (one, better): fit(frame, target="y", name="t", class_weight=one, **(GOOD if better else POOR))
        for one in ("balanced", "none")
        for better in (False, True)
    }
    store = Store(tmp_path)
    for old, new, balanced in (("none", "balanced", "the new model"), ("balanced", "none", "t@2")):
        served, now = models[old, False].publish(store), models[new, True]
        with pytest.raises(DataError, match=f"{balanced} was trained with balanced classes .* and .* was not"):
            compare_with_served(now.checkpoint, now.table, now.split, served)
    before, now = models["balanced", False], models["balanced", True]
    [difference] = compare_with_served(now.checkpoint, now.table, now.split, before.publish(store)).differences
    test = frame.iloc[now.split.test]
    rows = test[["a", "b", "c"]].to_dict("records")
    new, old = (oracle.balanced_accuracy_score(test.y, model.predict(rows)) for model in (now, before))
    assert difference.measure == "balanced_accuracy"
    assert difference.lead == pytest.approx(new - old)


def test_promote_and_rollback_move_what_a_name_means(command, store):
    for _ in range(3):
        command("fit", "xor", "--epochs", 1, *QUICK)
    assert command("rollback", "xor")[:2] == (0, "xor is xor@2, and was xor@3")
    code, last, err = command("fit", "xor", "--epochs", 1, "--hidden", "8", "--no-report")
    assert last == "published xor@4"
    assert "xor still means xor@2, since the alias default names it" in err
    assert store.resolve("xor").version == 2
    assert command("promote", "xor@latest") == (0, "xor is xor@4", "")
    assert command("promote", "xor@1", "--alias", "production") == (0, "xor@production is xor@1", "")
    assert command("promote", "xor@production")[1] == "xor is xor@1"
    assert command("rollback", "xor")[1] == "xor is xor@4, and was xor@1"
    code, _, err = command("promote", "xor")
    assert (code, err.count("\n")) == (2, 1)
    assert "NAME@latest" in err
