"""The choice of a version: exact shares, sticky values, and no more moves than necessary."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from models.alias_target import Split
from service.batching.version_choice import VersionChoice

VALUES = [f"user-{number}".encode() for number in range(20_000)]


def choice(
    weights: dict[int, float], *, alias: str = "production", ready: tuple[int, ...] = (1, 2, 3)
) -> VersionChoice:
    return VersionChoice("iris", alias, Split.of(weights), ready)


def sticky_versions(chooser: VersionChoice) -> list[str]:
    return [chooser.choose(value) for value in VALUES]


@pytest.mark.parametrize("weights", [{1: 90, 2: 10}, {1: 33.3, 2: 33.3, 3: 33.4}, {1: 99.9, 3: 0.1}, {2: 100, 3: 0}])
def test_shares_are_exact_in_the_long_run(weights: dict[int, float]) -> None:
    chooser = choice(weights)
    counts = Counter(chooser.choose(None) for _ in range(100_000))
    for version, weight in weights.items():
        assert abs(counts[f"iris@{version}"] - 1000 * weight) <= 20, "far less than at random (300 for a half)"


def test_every_stretch_has_the_shares_too() -> None:
    chooser = choice({1: 90, 2: 10})
    for _ in range(50):
        assert 8 <= Counter(chooser.choose(b"") for _ in range(100))["iris@2"] <= 12, "an empty value is none"


@pytest.mark.parametrize("weights", [{1: 90, 2: 10}, {1: 20, 2: 30, 3: 50}])
def test_sticky_values_have_the_shares_within_three_deviations(weights: dict[int, float]) -> None:
    counts = Counter(sticky_versions(choice(weights)))
    for version, weight in weights.items():
        share = weight / 100
        deviation = (len(VALUES) * share * (1 - share)) ** 0.5
        assert abs(counts[f"iris@{version}"] - len(VALUES) * share) < 3 * deviation


def test_one_value_gets_one_version_in_every_process() -> None:
    program = (
        "from models.alias_target import Split; from service.batching.version_choice import VersionChoice;"
        "c = VersionChoice('iris', 'production', Split.of({1: 50, 2: 50}), (1, 2));"
        "print(''.join(c.choose(f'user-{n}'.encode())[-1] for n in range(200)))"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    here = "".join(version[-1] for version in sticky_versions(choice({1: 50, 2: 50}))[:200])
    assert there == here
    assert set(here) == {"1", "2"}


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ({1: 90, 2: 10}, {1: 80, 2: 20}, 0.10),
        ({1: 100, 2: 0}, {1: 99, 2: 1}, 0.01),
        ({1: 50, 2: 50}, {1: 40, 2: 40, 3: 20}, 0.20),
        ({1: 20, 2: 30, 3: 50}, {2: 37.5, 3: 62.5}, 0.20),
    ],
)
def test_changed_weights_move_only_the_necessary_share(
    before: dict[int, float], after: dict[int, float], moved: float
) -> None:
    pairs = list(zip(sticky_versions(choice(before)), sticky_versions(choice(after)), strict=True))
    moves = Counter(pair for pair in pairs if pair[0] != pair[1])
    deviation = (len(VALUES) * moved * (1 - moved)) ** 0.5
    assert abs(moves.total() - moved * len(VALUES)) < 3 * deviation
    grown = {f"iris@{v}" for v, weight in after.items() if weight > before.get(v, 0)}
    assert {to for _, to in moves} <= grown, "nothing moves to a version whose weight has not grown"


def test_aliases_and_models_divide_values_independently() -> None:
    pairs = zip(
        sticky_versions(choice({1: 50, 2: 50})), sticky_versions(choice({1: 50, 2: 50}, alias="beta")), strict=True
    )
    assert abs(sum(one == other for one, other in pairs) / len(VALUES) - 0.5) < 0.02


def test_the_share_of_a_version_that_is_not_ready_goes_to_the_others() -> None:
    whole, part = choice({1: 60, 2: 30, 3: 10}), choice({1: 60, 2: 30, 3: 10}, ready=(1, 3))
    assert (part.versions, part.lead, part.lead_id) == ((1, 3), 1, "iris@1")
    counts = Counter(part.choose(None) for _ in range(7000))
    assert abs(counts["iris@1"] - 6000) < 10
    for one, other in zip(sticky_versions(whole), sticky_versions(part), strict=True):
        assert one in (other, "iris@2"), "the values of the others stay"
    assert choice({1: 100, 2: 0}, ready=(2,)).lead is None, "a version of weight 0 takes no requests"
