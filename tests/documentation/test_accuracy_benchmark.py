"""`make bench-accuracy`: scores against scikit-learn's; splits, cache, tables, and small runs of the methods."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.metadata
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from benchmarks.accuracy import data_folder, environments, report, runs, scores
from benchmarks.accuracy.data_folder import Extracted, extract, extracted, fingerprint, typed
from benchmarks.accuracy.datasets import DATASETS, Dataset
from benchmarks.accuracy.problem import Problem, by_groups, by_time, load_problem, stratified
from benchmarks.accuracy.roster import METHODS, Method
from benchmarks.accuracy.runs import Result, Run, execute_all, read
from benchmarks.accuracy.standing import Standing, standings

_RNG = np.random.default_rng(3)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AXON_BENCH_CACHE", str(tmp_path))
    return tmp_path


def _cells(lines: list[str]) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert all(len(row) == len(rows[0]) for row in rows)
    return [row for row in rows if not all(re.fullmatch("-+:?", cell) for cell in row)]


def _problem(path: Path, *, task: str = "classification", rows: int = 240) -> Problem:
    """Makes a table with gaps, a rare category, and labels that sort differently as numbers and as words."""
    x, kind = _RNG.standard_normal(rows), _RNG.choice(["a", "b", "c"], size=rows, p=[0.6, 0.395, 0.005]).astype(object)
    signal = x + 2.0 * (kind == "b")
    x[::17], kind[::23] = np.nan, None
    y = np.where(signal > 1, "10", "9") if task == "classification" else 1_000 + 50 * signal
    frame = pd.DataFrame({"x": x, "kind": kind, "constant": 0.0, "y": y})
    typed(frame, target="y", is_classes=task == "classification").to_parquet(path, index=False)
    return load_problem(path, name="made", task=task, target="y", seed=1, max_rows=1_000)  # type: ignore[arg-type]


def test_scores_are_those_of_scikit_learn() -> None:
    probabilities = _RNG.dirichlet(np.ones(4), size=50)
    truth = _RNG.integers(4, size=50)
    accuracy, loss, *_ = scores.score("classification", probabilities, truth)
    assert accuracy == metrics.accuracy_score(truth, probabilities.argmax(axis=1))
    assert loss == pytest.approx(metrics.log_loss(truth, probabilities, labels=range(4)), rel=1e-12)
    two, ones = np.round(_RNG.dirichlet(np.ones(2), size=50), 1), _RNG.integers(2, size=50)
    assert scores.score("classification", two, ones)[2] == pytest.approx(metrics.roc_auc_score(ones, two[:, 1]))
    values, targets = _RNG.standard_normal(50), 3 * _RNG.standard_normal(50)
    r_squared, rmse = scores.score("regression", values, targets)
    assert r_squared == pytest.approx(metrics.r2_score(targets, values), rel=1e-12)
    assert rmse == pytest.approx(metrics.root_mean_squared_error(targets, values), rel=1e-12)


def test_a_probability_of_nothing_for_the_truth_costs_a_lot_but_not_everything() -> None:
    assert scores.log_loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(15 * np.log(10))


def test_a_spread_is_the_mean_and_the_deviation_of_a_sample() -> None:
    assert scores.Spread.of([1.0, 2.0, 3.0]) == scores.Spread(2.0, 1.0, 3)
    assert scores.Spread.of([7.0]) == scores.Spread(7.0, 0.0, 1)


def test_a_split_shares_out_each_class_and_every_row_once() -> None:
    strata = np.repeat([0, 1, 2], [400, 97, 11])
    split = stratified(strata, seed=5)
    parts = (split.train, split.validation, split.test)
    assert sorted(np.concatenate(parts)) == list(range(len(strata)))
    for stratum, size in enumerate((400, 97, 11)):
        for part, share in zip(parts, (0.7, 0.15, 0.15), strict=True):
            assert abs((strata[part] == stratum).sum() - share * size) <= 1
    again, other = stratified(strata, seed=5), stratified(strata, seed=6)
    assert np.array_equal(again.test, split.test)
    assert not np.array_equal(other.test, split.test)


def test_groups_stay_together_and_times_follow_each_other() -> None:
    groups = _RNG.integers(0, 60, 900)
    found = by_groups(groups, seed=3)
    parts = [found.train, found.validation, found.test]
    assert sorted(np.concatenate(parts)) == list(range(900))
    names = [set(groups[part]) for part in parts]
    assert [len(name) for name in names] == [42, 9, 9]
    assert not names[0] & names[1] | names[0] & names[2] | names[1] & names[2]
    times = _RNG.integers(0, 100, 500)
    found = by_time(times)
    parts = [found.train, found.validation, found.test]
    assert sorted(np.concatenate(parts)) == list(range(500))
    assert times[parts[0]].max() < times[parts[1]].min()
    assert times[parts[1]].max() < times[parts[2]].min()
    assert len(parts[0]) == pytest.approx(350, abs=12)


def test_a_typed_table_keeps_what_is_missing_and_its_fingerprint_sees_every_cell() -> None:
    frame = pd.DataFrame({"y": [1, 2, 1], "n": [1, None, 3], "c": ["u", None, "v"], "b": [True, False, True]})
    table = typed(frame, target="y", is_classes=True)
    assert list(table.columns) == ["n", "c", "b", "y"]
    assert list(table["y"]) == ["1", "2", "1"]
    assert list(table["b"]) == [1.0, 0.0, 1.0]
    assert np.isnan(table["n"][1])
    assert table["c"][1] is None
    seen = {fingerprint(table)}
    for name, value in (("n", 0.0), ("c", "w"), ("b", 5.0), ("y", "2")):
        changed = table.copy()
        changed.loc[2, name] = value
        seen.add(fingerprint(changed))
    assert len(seen) == 5
    assert fingerprint(table.copy()) in seen


def test_a_large_table_is_cut_to_the_same_rows_for_every_seed(tmp_path: Path) -> None:
    path = tmp_path / "numbers.parquet"
    pd.DataFrame({"x": np.arange(500.0), "y": np.arange(500.0)}).to_parquet(path, index=False)
    first, second = (
        load_problem(path, name="numbers", task="regression", target="y", seed=seed, max_rows=100) for seed in (0, 1)
    )
    assert len(first.y) == 100
    assert first.features.equals(second.features)
    assert np.array_equal(first.y, first.features["x"])
    assert not np.array_equal(first.split.test, second.split.test)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize(
    ("module", "settings"), [("linear", {}), ("sklearn_mlp", {}), ("boosting", {}), ("axon", {"epochs": 40})]
)
def test_each_method_learns_from_a_table_with_gaps_and_rare_categories(
    tmp_path: Path, module: str, settings: dict[str, int], task: str
) -> None:
    problem = _problem(tmp_path / "made.parquet", task=task)
    learned = importlib.import_module(f"benchmarks.accuracy.methods.{module}").learn(problem, **settings)
    answers = learned.answers
    assert learned.predict(problem.split.test[:9]) == pytest.approx(answers[:9], rel=1e-5)
    truth = problem.y[problem.split.test]
    if task == "classification":
        assert problem.labels == ("10", "9")
        assert answers.shape == (len(truth), 2)
        assert answers.sum(axis=1) == pytest.approx(1)
        assert scores.accuracy(answers, truth) > 0.75  # the larger class alone: 0.6; mixed-up classes: below 0.25
    else:
        assert scores.r_squared(answers, truth) > 0.4
    assert all(value > 0 for value in learned.notes.values())


def test_every_method_has_a_module_and_says_what_stands_in_its_way() -> None:
    folder = Path(runs.__file__).parent / "methods"
    assert all((folder / f"{method.module}.py").exists() for method in METHODS.values())
    plain = METHODS["linear"]
    assert plain.obstacle() is None
    assert "'no-such'" in str(dataclasses.replace(plain, environment="no-such").obstacle())
    absurd = dataclasses.replace(METHODS["axon"], settings={"epochs": 0})
    assert "epochs must be a whole number of at least 1" in str(absurd.obstacle())
    assert "colour" in str(dataclasses.replace(absurd, settings={"colour": "red"}).obstacle())


def test_versions_are_read_without_starting_the_environment() -> None:
    found = environments.versions(None, ("numpy", "scikit-learn", "no-such-package"))
    assert found == {name: importlib.metadata.version(name) for name in ("numpy", "scikit-learn")}


def _wine_run(**changes: object) -> Run:
    if extracted("wine") is None:
        extract(DATASETS["wine"])
    data = extracted("wine")
    assert data is not None
    run = Run(dataset=DATASETS["wine"], data=data, method=METHODS["linear"], seed=0, max_rows=20_000)
    return dataclasses.replace(run, **changes)  # type: ignore[arg-type]


def test_a_result_s_name_changes_with_what_it_depends_on_and_with_nothing_else(cache: Path) -> None:
    run = _wine_run()
    linear = METHODS["linear"]
    same = [run, _wine_run(max_rows=1_000), _wine_run(method=dataclasses.replace(linear, about="told otherwise"))]
    assert len({r.out for r in same}) == 1
    others = [
        _wine_run(seed=1),
        _wine_run(max_rows=100),
        _wine_run(data=dataclasses.replace(run.data, fingerprint="another")),
        _wine_run(method=dataclasses.replace(linear, settings={"a": 1})),
        _wine_run(method=dataclasses.replace(linear, revision=2)),
        _wine_run(method=dataclasses.replace(linear, packages=("numpy",))),
        _wine_run(method=dataclasses.replace(linear, is_axon=True)),
    ]
    assert len({r.out for r in [run, *others]}) == 8
    assert run.out.is_relative_to(cache)


def test_a_run_is_made_once_in_its_own_process_and_scored_from_its_answers(cache: Path) -> None:
    run = _wine_run()
    failing = _wine_run(method=dataclasses.replace(METHODS["linear"], settings={"colour": "red"}))
    outcome = dict(execute_all([run, failing], jobs=2, fresh=False))
    assert outcome[run] is None
    assert "wine, linear, seed 0 failed" in str(outcome[failing])
    assert "colour" in str(outcome[failing])
    assert dict(execute_all([run], jobs=1, fresh=False)) == {}

    problem = run.problem()
    truth = problem.y[problem.split.test]
    assert read(failing, truth) is None
    result = read(run, truth)
    assert result is not None
    probabilities = np.load(run.out.with_suffix(".npy"))
    assert result.scores[0] == metrics.accuracy_score(truth, probabilities.argmax(axis=1)) > 0.9
    assert 0 < result.cpu_seconds < 60


def test_the_data_sets_that_scikit_learn_carries_are_extracted_with_their_fingerprints(cache: Path) -> None:
    for name in ("digits", "breast-cancer", "diabetes"):
        extract(DATASETS[name])
        found = extracted(name)
        assert found is not None
        frame = pd.read_parquet(found.path)
        assert (found.rows, found.numeric + found.categorical) == (len(frame), frame.shape[1] - 1)
        assert found.fingerprint == fingerprint(frame)
        assert frame.columns[-1] == DATASETS[name].target
    assert extracted("adult") is None
    assert data_folder.cache_folder() == cache


def _results(values: dict[tuple[str, str], list[tuple[float, float]]]) -> list[Result]:
    data = Extracted(path=Path("none"), fingerprint="f", rows=178, numeric=13, categorical=0)
    return [
        Result(
            run=Run(dataset=DATASETS[dataset], data=data, method=METHODS[method], seed=seed, max_rows=20_000),
            scores=pair,
            cpu_seconds=1.5,
            seconds_of_1000=0.002,
        )
        for (dataset, method), pairs in values.items()
        for seed, pair in enumerate(pairs)
    ]


_MADE_UP = {
    ("wine", "linear"): [(0.90, 0.30), (0.92, 0.32), (0.94, 0.34)],
    ("wine", "boosting"): [(0.93, 0.20), (0.94, 0.20), (0.95, 0.20)],
    ("wine", "axon"): [(0.96, 0.10), (0.95, 0.12)],
    ("wine", "realmlp"): [(0.95, 0.20), (0.95, 0.10)],
    ("auto", "linear"): [(0.80, 3.0)] * 3,
    ("auto", "axon"): [(0.85, 2.5)] * 3,
}


def _table_of(index: int, dataset: Dataset, methods: list[Method]) -> list[str]:
    found = report.scores_of(_results(_MADE_UP))
    measure = scores.MEASURES[dataset.task][index]
    return _cells(report.score_table(found, [dataset], methods, measure, index))[1]


def test_a_table_marks_the_best_and_those_within_its_deviation() -> None:
    methods = [METHODS[name] for name in ("linear", "boosting", "axon", "sklearn-mlp")]
    assert _table_of(0, DATASETS["wine"], methods) == [
        "wine",
        "92.00 ± 2.00",
        "94.00 ± 1.00",
        "**95.50 ± 0.71 (2 of 3)**",
        "–",
    ]
    # A smaller loss is better: 0.11 ± 0.014 leads, and 0.20 is further off than either deviation.
    assert _table_of(1, DATASETS["wine"], methods)[3] == "**0.1100 ± 0.0141 (2 of 3)**"
    assert _table_of(1, DATASETS["auto"], methods) == ["auto", "3.000 ± 0.000", "–", "**2.500 ± 0.000**", "–"]
    assert _table_of(0, DATASETS["auto"], methods[:1] * 2) == ["auto", *["**0.8000 ± 0.0000**"] * 2]  # a tie
    near = _table_of(0, DATASETS["wine"], [METHODS[name] for name in ("axon", "realmlp")])
    assert near == ["wine", "**95.50 ± 0.71**", "95.00 ± 0.00 ·"]


def test_an_unstable_method_is_not_near_the_first_for_its_own_deviation() -> None:
    spreads = {"steady": scores.Spread(0.83, 0.01, 3), "wild": scores.Spread(-1.1, 3.0, 3)}
    spreads["close"] = scores.Spread(0.825, 0.001, 3)
    assert report.leaders(spreads, scores.MEASURES["regression"][0]) == ({"steady"}, {"close"})


def test_the_ranking_counts_first_places_and_near_ones() -> None:
    found = report.scores_of(_results(_MADE_UP))
    methods = [METHODS[name] for name in ("linear", "axon", "realmlp")]
    _, linear, axon, realmlp = _cells(report.ranking_table(found, [DATASETS["wine"], DATASETS["auto"]], methods))
    assert linear == ["linear", "0 of 2", "0 of 2", "0 of 2", "0 of 2"]
    assert axon == ["Axon, default", "2 of 2", "2 of 2", "2 of 2", "2 of 2"]
    # 0.005 below 0.955 ± 0.0071 is near. 0.15 is not near 0.11 ± 0.014, though RealMLP-TD's own two losses differ more.
    assert realmlp == ["RealMLP-TD", "0 of 1", "1 of 1", "0 of 1", "0 of 1"]


def test_the_standing_is_of_the_data_sets_that_all_methods_have() -> None:
    methods = [METHODS[name] for name in ("linear", "axon")]
    datasets = [DATASETS["wine"], DATASETS["auto"], DATASETS["digits"]]
    found = standings(_results(_MADE_UP), datasets, methods, measure=1)
    assert found["axon"] == Standing(rank=1.0, score=1.0, seconds_of_1000=pytest.approx(0.002))
    assert found["linear"] == Standing(rank=2.0, score=0.0, seconds_of_1000=pytest.approx(0.002))
    of_wine = standings(_results(_MADE_UP), datasets, [*methods, METHODS["boosting"]], measure=0)
    assert [of_wine[name].rank for name in ("axon", "boosting", "linear")] == [1.0, 2.0, 3.0]
    assert of_wine["boosting"].score == pytest.approx((0.94 - 0.92) / (0.955 - 0.92))
    assert standings(_results(_MADE_UP), [DATASETS["digits"]], methods, measure=0) == {}


def test_paired_differences_are_of_the_same_seed_and_positive_where_the_first_is_better() -> None:
    found = report.scores_of(_results(_MADE_UP))
    methods = [METHODS[name] for name in ("axon", "realmlp")]
    _, wine = _cells(report.paired_table(found, [DATASETS["wine"], DATASETS["auto"]], methods))
    # Accuracy: +1 and 0 points. Log-loss: 0.10 less, then 0.02 more.
    assert wine == ["wine", "+0.50 ± 0.71", f"+0.0400 ± {np.std([0.1, -0.02], ddof=1):.4f}"]
    _, auto = _cells(report.paired_table(found | {("auto", "realmlp"): {2: (0.8, 2.0)}}, [DATASETS["auto"]], methods))
    assert auto == ["auto", "+0.0500 ± 0.0000", "-25.0 ± 0.0"]


def test_the_report_replaces_what_stood_between_the_markers_and_nothing_else() -> None:
    results = _results(_MADE_UP)
    data = {result.run.dataset.name: result.run.data for result in results}
    text = report.report(results, data, list(METHODS.values()), 20_000)
    assert "scikit-learn MLP" not in text  # it did not run, so it has no column
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.MULTILINE):
        assert _cells(table.splitlines())
    document = "before\n<!-- accuracy: begin -->\nwhat stood there\n<!-- accuracy: end -->\nafter\n"
    once = report.write_between_markers(document, text)
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "what stood there" not in once
    assert report.write_between_markers(once, text) == once
    with pytest.raises(ValueError, match="no place for the report"):
        report.write_between_markers("nothing here", text)
    written = (Path(__file__).parents[2] / "docs/training-benchmarks.md").read_text(encoding="utf-8")
    assert "<!-- accuracy: begin -->" in report.write_between_markers(written, text)


def test_boosting_gathers_the_rarest_of_too_many_categories(tmp_path: Path) -> None:
    rows = 1_200
    users = _RNG.permutation(np.arange(rows) % 300).astype(str)
    path = tmp_path / "users.parquet"
    frame = pd.DataFrame({"user": users, "x": _RNG.standard_normal(rows)})
    typed(frame.assign(y=3 * frame["x"]), target="y", is_classes=False).to_parquet(path, index=False)
    problem = load_problem(path, name="users", task="regression", target="y", seed=0, max_rows=rows)
    answers = importlib.import_module("benchmarks.accuracy.methods.boosting").learn(problem).answers
    assert scores.r_squared(answers, problem.y[problem.split.test]) > 0.9
