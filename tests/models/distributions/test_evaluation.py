"""The verdict on a window: what drifts is named, what does not is left alone, and the figures are those of SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from watched_models import Matrix, Watched, answers_to, normal

from models.at_once import at_once
from models.columns.encoding import RowEncoder
from models.columns.schema import CategoricalColumn, ClassTarget, Column, DateColumn, NumericColumn, Schema
from models.distributions.evaluation import (
    FALSE_ALARMS,
    Evaluation,
    Movement,
    design_effect,
    evaluate,
    population_stability_index,
    two_sample_statistic,
)
from models.distributions.row_counter import RowCounter
from models.distributions.window import Window
from training.distributions import training_distributions

ROWS = 2_000
SHIFT = 0.5  # standard deviations


@pytest.fixture(scope="module")
def watched() -> Watched:
    """A model of 30 columns that was trained on 1,000 rows, with 300 more for its predictions."""
    rng = np.random.default_rng(0)
    return Watched.trained_on(normal(rng, 1_000), normal(rng, 300))


def movement_of(evaluation: Evaluation, name: str) -> Movement:
    [found] = [movement for movement in evaluation.movements if movement.variable.name == name]
    return found


@pytest.mark.slow
def test_at_most_one_of_a_hundred_windows_without_drift_is_flagged(watched: Watched) -> None:
    rng = np.random.default_rng(1)
    verdicts = [watched.evaluation(normal(rng, ROWS)).verdict for _ in range(200)]
    assert verdicts.count("drift") <= 2
    assert set(verdicts) <= {"drift", "no_drift"}


def test_half_a_standard_deviation_in_one_of_thirty_features_is_named(watched: Watched) -> None:
    rng = np.random.default_rng(2)
    for feature in range(30):
        rows = normal(rng, ROWS)
        rows[:, feature] += SHIFT
        evaluation = watched.evaluation(rows)
        assert evaluation.verdict == "drift"
        assert f"x{feature}" in [movement.variable.name for movement in evaluation.flagged]
        assert all(movement.variable.column is None for movement in evaluation.flagged[1:]), "and no other feature"


@pytest.mark.parametrize("training_rows", [200, 20_000])
def test_the_size_of_the_training_part_counts(training_rows: int) -> None:
    rng = np.random.default_rng(3)
    watched = Watched.trained_on(normal(rng, training_rows), normal(rng, max(60, training_rows // 4)))
    assert [watched.evaluation(normal(rng, ROWS)).verdict for _ in range(50)].count("drift") == 0
    rows = normal(rng, ROWS)
    rows[:, 4] += SHIFT
    assert "x4" in [movement.variable.name for movement in watched.evaluation(rows).flagged]


def test_p_values_without_drift_are_uniform(watched: Watched) -> None:
    rng = np.random.default_rng(4)
    models = [Watched.trained_on(normal(rng, 2_000), normal(rng, 500)) for _ in range(20)]
    found = [
        movement.p_value
        for model in models
        for movement in model.evaluation(normal(rng, ROWS)).movements
        if movement.p_value is not None
    ]
    assert len(found) == 20 * 32
    for level in (0.5, 0.1, 0.02):
        share = sum(p <= level for p in found) / len(found)
        # The design effect is never below 1, so the p-values are a little too large.
        assert share <= level + 4 * math.sqrt(level * (1 - level) / len(found))
        assert share >= level / 2 - 4 * math.sqrt(level * (1 - level) / len(found))


def test_many_rows_do_not_make_a_trifle_an_alarm() -> None:
    rng = np.random.default_rng(5)
    watched = Watched.trained_on(normal(rng, 50_000, 3), normal(rng, 50_000, 3))
    rows = normal(rng, 400_000, 3)
    rows[:, 1] += 0.05
    evaluation = watched.evaluation(rows)
    moved = movement_of(evaluation, "x1")
    assert moved.p_value is not None
    assert moved.p_value < 1e-9, "it is no chance"
    assert evaluation.verdict == "no_drift", "and still too small to matter"


@pytest.mark.parametrize("run", [10, 50, 200])
def test_runs_of_equal_rows_are_not_taken_for_drift(watched: Watched, run: int) -> None:
    rng = np.random.default_rng(6)
    verdicts = [watched.evaluation(np.repeat(normal(rng, ROWS // run), run, axis=0)).verdict for _ in range(50)]
    assert verdicts.count("drift") == 0


def test_the_design_effect_of_repeated_rows_is_their_number(watched: Watched) -> None:
    rng = np.random.default_rng(7)
    effects = {}
    for run in (1, 10):
        evaluation = watched.evaluation(np.repeat(normal(rng, ROWS // run), run, axis=0))
        effects[run] = np.mean([movement.design_effect for movement in evaluation.movements])
    assert 1 <= effects[1] < 1.3
    assert 9 < effects[10] < 12


def test_few_rows_get_no_verdict(watched: Watched) -> None:
    evaluation = watched.evaluation(normal(np.random.default_rng(8), 199) + 3)
    assert evaluation.verdict == "too_few_rows"
    assert evaluation.flagged == ()


def test_the_index_is_that_computed_by_hand() -> None:
    training, window = np.array([49.5, 29.5, 19.5]), np.array([9.5, 19.5, 69.5])  # half a row more in each bin
    expected = (0.1 - 0.5) * math.log(0.1 / 0.5) + (0.2 - 0.3) * math.log(0.2 / 0.3) + (0.7 - 0.2) * math.log(0.7 / 0.2)
    assert population_stability_index(training, window) == pytest.approx(expected)
    assert population_stability_index(training, training) == 0


def test_the_index_without_drift_is_the_noise() -> None:
    rng = np.random.default_rng(9)
    found = []
    for _ in range(40):
        watched = Watched.trained_on(normal(rng, 3_000, 5), normal(rng, 800, 5))
        found += watched.evaluation(normal(rng, ROWS, 5)).movements
    numbers = [movement for movement in found if movement.variable.column is not None]
    assert np.mean([movement.psi for movement in numbers]) == pytest.approx(
        np.mean([movement.noise for movement in numbers]), rel=0.1
    )


def test_the_statistic_is_scipys() -> None:
    rng = np.random.default_rng(10)
    training, window = rng.integers(5, 500, 12).astype(float), rng.integers(5, 90, 12).astype(float)
    expected = chi2_contingency(np.stack([training, window]), correction=False)
    assert two_sample_statistic(training, window) == pytest.approx(expected.statistic)


def test_the_design_effect_is_the_statistic_of_the_blocks() -> None:
    rng = np.random.default_rng(11)
    blocks = np.concatenate([rng.multinomial(100, shares, size=15) for shares in ([0.7, 0.2, 0.1], [0.3, 0.4, 0.3])])
    expected = chi2_contingency(blocks, correction=False)
    counts = blocks.sum(axis=0).astype(float)
    squares = (blocks**2 / 100).sum(axis=0)[None]
    assert design_effect(counts, squares, 3_000, [30]) == pytest.approx(expected.statistic / expected.dof)


class Mixed:
    """A model with gaps, categories and a date, and rows for the model."""

    columns: tuple[Column, ...] = (
        NumericColumn(name="number", mean=0, std=1, minimum=-3, maximum=3, missing="indicator"),
        CategoricalColumn(name="city", categories=("a", "b", "c"), unknown="ignore", missing="ignore"),
        DateColumn(name="day", mean=19_000, std=100, minimum=18_500, maximum=19_500),
    )
    schema = Schema(columns=columns, target=ClassTarget(name="y", labels=("u", "v")))

    def __init__(self) -> None:
        self.rng = np.random.default_rng(12)
        x, _ = self.encoded(4_000)
        self.distributions = training_distributions(self.schema, x, answers_to(self.numbers(1_000))[:, :2], seed=0)

    def numbers(self, rows: int) -> Matrix:
        return self.rng.normal(size=(rows, 2)).astype(np.float32)

    def encoded(
        self, rows: int, *, gaps: float = 0.02, unknown: float = 0.0, outside: float = 0.0, later: int = 0
    ) -> tuple[Matrix, dict[str, int]]:
        """Returns encoded rows, and the number of unknown cells by column."""
        number = np.clip(self.rng.normal(size=rows), -2.999, 2.999)
        number = np.where(self.rng.random(rows) < outside, 5.0, number)
        city = np.where(self.rng.random(rows) < unknown, "z", self.rng.choice(["a", "b", "c"], rows))
        cells = [
            [
                None if self.rng.random() < gaps else value,
                name,
                f"2022-{1 + int(month):02}-15" if not later else f"{2022 + later}-01-01",
            ]
            for value, name, month in zip(number.tolist(), city.tolist(), self.rng.integers(0, 6, rows), strict=True)
        ]
        encoder = RowEncoder(self.schema)
        return encoder.encode_matrix(cells), encoder.unknown.take()

    def evaluation(self, **changes: float) -> Evaluation:
        counter = RowCounter(self.schema, self.distributions)
        window = Window(0, counter.slots)
        for _ in range(20):
            answers = answers_to(self.numbers(100))[:, :2]
            x, unknown = self.encoded(100, **changes)  # type: ignore[arg-type]
            counts = counter.count(x, answers)
            counter.move_unknown(counts, unknown)
            window.add(counts, 100)
        return at_once(evaluate(counter, self.distributions, window.snapshot()))


@pytest.fixture(scope="module")
def mixed() -> Mixed:
    """A model with gaps, categories and a date."""
    return Mixed()


def test_a_table_without_drift_is_left_alone(mixed: Mixed) -> None:
    assert [mixed.evaluation().verdict for _ in range(20)].count("drift") == 0


@pytest.mark.parametrize(
    ("change", "name", "reason"),
    [
        ({"gaps": 0.08}, "number", "gaps"),
        ({"unknown": 0.05}, "city", "unknown"),
        ({"outside": 0.04}, "number", "out_of_range"),
    ],
)
def test_gaps_unknown_categories_and_extremes_are_named(
    mixed: Mixed, change: dict[str, float], name: str, reason: str
) -> None:
    evaluation = mixed.evaluation(**change)
    [flagged] = evaluation.flagged
    assert flagged.variable.name == name
    assert reason in flagged.reasons
    share = flagged.shares[reason]
    [expected] = change.values()
    assert share.window == pytest.approx(expected, abs=0.02)
    assert share.p_value < FALSE_ALARMS


def test_the_share_to_expect_outside_the_range_is_that_of_rows_to_come(mixed: Mixed) -> None:
    [number] = [movement for movement in mixed.evaluation().movements if movement.variable.name == "number"]
    expected = number.shares["out_of_range"].training
    rng = np.random.default_rng(0)
    m = mixed.distributions.rows
    outside = []
    for _ in range(300):  # of numbers whose distribution nobody knows, the share beyond both ends of m drawn ones
        drawn = np.sort(rng.random(m))
        outside.append(drawn[0] + 1 - drawn[-1])
    assert expected == pytest.approx(np.mean(outside), rel=0.15)


def test_a_single_unknown_category_is_no_alarm(mixed: Mixed) -> None:
    assert mixed.evaluation(unknown=0.002).verdict == "no_drift"


def test_time_moves_on_without_an_alarm(mixed: Mixed) -> None:
    evaluation = mixed.evaluation(later=3)
    assert evaluation.verdict == "no_drift"
    day = movement_of(evaluation, "day")
    assert day.psi > 1
    assert not day.is_judged
    assert day.threshold is None
    assert evaluation.movements[-1] is day, "dates come last"
