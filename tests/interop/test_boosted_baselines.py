"""`--baselines` with LightGBM and CatBoost: the figures are those of the libraries; the best trees are compared."""

from __future__ import annotations

import pytest
from client_runs import Reports, run_client

from benchmarks.peer import ROOT


@pytest.fixture(scope="module")
def reports() -> Reports:
    """The findings of a process with both libraries."""
    variables = {"PYTHONPATH": str(ROOT)}
    return run_client(
        "boosted_baselines", module="lightgbm", environment="boosting", variables=variables, longest_seconds=600
    )


@pytest.mark.parametrize(("table", "figure"), [("classes", "log_loss"), ("values", "r2")])
def test_the_figures_are_those_of_the_libraries(reports: Reports, table: str, figure: str) -> None:
    found = {one["library"]: one for one in reports[table]["baselines"] if one["name"] == "gradient boosting"}
    assert list(found) == ["scikit-learn", "LightGBM", "CatBoost"]
    for library, own in reports[table]["own"].items():
        # Categories have other numbers there, by which a tie between two splits may be decided otherwise.
        assert found[library]["metrics"]["test"][figure] == pytest.approx(own, rel=0.05), library


def test_with_balanced_classes_the_libraries_learn_and_stop_by_balanced_rows(reports: Reports) -> None:
    trees = [one for one in reports["rare"]["baselines"] if one["name"] == "gradient boosting"]
    found = {one["library"]: one["metrics"]["test"]["balanced_accuracy"] for one in trees}
    for library, own in reports["rare"]["own"].items():
        assert found[library] == pytest.approx(own), library
    best = max(trees, key=lambda one: one["metrics"]["validation"]["balanced_accuracy"])
    assert reports["rare"]["trees"] == best["library"]


@pytest.mark.parametrize(("table", "figure"), [("classes", "log_loss"), ("values", "rmse")])
def test_the_trees_that_are_best_on_the_validation_part_are_compared(reports: Reports, table: str, figure: str) -> None:
    comparison = reports[table]
    trees = [one for one in comparison["baselines"] if one["name"] == "gradient boosting"]
    best = min(trees, key=lambda one: one["metrics"]["validation"][figure])
    assert comparison["trees"] == best["library"]
    lead = next(
        one
        for one in comparison["differences"]
        if (one["of"], one["over"]) == ("gradient boosting", "this model") and one["measure"] in ("log_loss", "r2")
    )
    ours, theirs = (metrics["test"][lead["measure"]] for metrics in (comparison["ours"], best["metrics"]))
    sign = -1 if lead["measure"] == "log_loss" else 1
    assert lead["lead"] == pytest.approx(sign * (theirs - ours), abs=1e-4)
    assert f"gradient boosting ({best['library']})" in comparison["latency"]
    assert comparison["seconds"] > 0


@pytest.mark.parametrize("library", ["LightGBM", "CatBoost"])
def test_the_printed_code_trains_and_answers(reports: Reports, library: str) -> None:
    assert reports[f"classes by the code of {library}"] == 900
    assert reports[f"values by the code of {library}"] == 900


def test_a_library_that_cannot_learn_is_left_out_with_a_sentence(reports: Reports) -> None:
    comparison = reports["constant"]
    assert [one["library"] for one in comparison["baselines"]] == ["scikit-learn", "scikit-learn", "LightGBM"]
    assert len(comparison["left_out"]) == 1
    assert comparison["left_out"][0].startswith("The trees of CatBoost could not be trained: CatBoostError: ")
    assert comparison["advice"]
