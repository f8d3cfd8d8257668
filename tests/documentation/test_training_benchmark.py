"""`make bench-training`: operation counts against torch's, ratios and goals, and small runs of the contestants."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.training import contestants, recipe
from benchmarks.training.networks import RECIPE_BATCH, RECIPE_ROWS, RECIPE_STEPS, WORKLOADS, Workload
from benchmarks.training.report import (
    AXON,
    LIMIT,
    LOOP,
    PYTABKIT,
    RECIPE,
    goals_table,
    ratio,
    recipe_table,
    workload_table,
)

_TINY = Workload(name="tiny", sizes=(3, 8, 4, 2), batch_size=16, rows=64, epochs=1, is_normalised=True)


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_the_arithmetic_of_a_step_is_what_torch_counts(workload: Workload) -> None:
    layers = [torch.nn.Linear(n_in, n_out) for n_in, n_out in zip(workload.sizes, workload.sizes[1:], strict=False)]
    x, y = torch.randn(4, workload.sizes[0]), torch.zeros(4, dtype=torch.int64)
    counter = FlopCounterMode(display=False)
    with counter:
        functional.cross_entropy(torch.nn.Sequential(*layers)(x), y).backward()
    assert 4 * workload.flop_per_row == counter.get_total_flops()


def test_the_products_that_are_timed_are_those_of_the_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> None:
        assert out.shape == (len(a), b.shape[1])
        made.append(2 * a.shape[0] * a.shape[1] * b.shape[1])

    monkeypatch.setattr(torch, "mm", counted)
    assert contestants.matrix_products(_TINY) > 0
    assert sum(made) == (_TINY.epochs + 1) * _TINY.rows * _TINY.flop_per_row


@pytest.mark.parametrize(
    "contestant", [contestants.axon, contestants.bf16_axon, contestants.loop, contestants.scikit_learn]
)
def test_each_contestant_trains_and_tells_a_rate(contestant: contestants.Contestant) -> None:
    assert 0 < contestant(_TINY) < math.inf


def test_the_batches_divide_the_rows_so_that_steps_are_counted_right() -> None:
    assert all(workload.rows % workload.batch_size == 0 for workload in WORKLOADS.values())
    assert 0.8 * RECIPE_ROWS == RECIPE_BATCH * RECIPE_STEPS
    assert sorted(set(recipe.frame()["y"])) == ["no", "yes"]


def test_a_ratio_is_the_median_of_the_rounds_and_judges_the_goal() -> None:
    rates = {
        ("mnist-128", AXON): [200.0, 90.0, 50.0],
        ("mnist-128", LOOP): [100.0, 30.0, 50.0],  # ratios 2, 3 and 1
        ("mnist-1024", AXON): [59.0],
        ("mnist-1024", LIMIT): [100.0],
        (RECIPE, PYTABKIT): [100.0],
    }
    assert ratio(rates, "mnist-128", LOOP) == 2.0
    assert ratio(rates, "mnist-128", LIMIT) is None
    assert ratio(rates, RECIPE, PYTABKIT) is None
    judged = [line for line in goals_table(rates) if line.startswith(("| mnist", "| recipe"))]
    assert judged == [
        "| mnist-128: Axon over DataLoader loop | 2.00 × | ≥ 2 | met |",
        "| mnist-1024: Axon over matrix products alone | 0.59 × | ≥ 0.6 | NOT met |",
    ]
    assert "| DataLoader loop | 50 | 6,400 | 15.4 | 2.00 × |" in workload_table(rates, WORKLOADS["mnist-128"])
    assert "| pytabkit | 100 | 10.0 |  |" in recipe_table(rates, "settings")
