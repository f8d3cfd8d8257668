"""A population: the hyperparameters of networks that train side by side, and the selection among the networks.

Population-based training after Jaderberg et al. 2017, "Population Based Training of Neural Networks", with truncation
selection: the worst quarter continues from copies of the best quarter (exploit), with hyperparameters that are one step
larger or smaller (explore). This module trains nothing; all random numbers come from the caller's generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.network.config import MAX_MEMBERS

RATE_SPREAD = 4.0  # an initial learning rate lies between a quarter of the recipe's and four times the recipe's
DROPOUT_SPREAD = 3.0
MAX_DROPOUT = 0.89
STEPS = (0.8, 1.25)  # explore multiplies a hyperparameter by one of these; their product is 1
_SHARE = 4  # the worst quarter is replaced by copies of the best quarter


@dataclass(frozen=True, kw_only=True)
class Population:
    """The hyperparameters in which the members of a population differ.

    Attributes:
        rates: (members,) factors on the recipe's learning rate.
        dropouts: (members,) dropout probabilities.

    Raises:
        ConfigError: the number of members is below 2 or above `MAX_MEMBERS`, or a value is not valid.
    """

    rates: NDArray[np.float64]
    dropouts: NDArray[np.float64]

    def __post_init__(self) -> None:
        if not 2 <= len(self.rates) <= MAX_MEMBERS:
            raise ConfigError(f"a population has 2 to {MAX_MEMBERS} members, got {len(self.rates)}.")
        if len(self.dropouts) != len(self.rates):
            raise ConfigError(f"{len(self.rates)} learning rates do not go with {len(self.dropouts)} dropouts.")
        for what, values, good in (
            ("learning rate's factor", self.rates, np.isfinite(self.rates) & (self.rates > 0)),
            ("dropout", self.dropouts, (self.dropouts >= 0) & (self.dropouts < 1)),
        ):
            if not good.all():
                raise ConfigError(f"a member's {what} cannot be {values[~good][0]}.")

    def __len__(self) -> int:
        return len(self.rates)


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The result of one selection.

    Attributes:
        parents: (members,) int64 index of the member whose weights each member continues with: the member itself, or
            the better one that replaces the member.
        population: hyperparameters after the selection.
    """

    parents: NDArray[np.int64]
    population: Population


def initial_population(members: int, *, dropout: float, generator: np.random.Generator) -> Population:
    """Draws an initial population: the recipe's own hyperparameters, and others log-uniformly around these.

    Args:
        members: number of members.
        dropout: dropout probability of the recipe; if 0, the probability of every member is 0.
        generator: source of all random numbers.

    Raises:
        ConfigError: the number of members is not valid.
    """
    if isinstance(members, bool) or not isinstance(members, int) or not 2 <= members <= MAX_MEMBERS:
        raise ConfigError(f"a population has 2 to {MAX_MEMBERS} members, got {members!r}.")
    exponents = generator.uniform(-1, 1, size=(2, members))  # exponents of the spreads
    exponents[:, 0] = 0
    rates, dropouts = RATE_SPREAD ** exponents[0], dropout * DROPOUT_SPREAD ** exponents[1]
    dropouts[1:] = np.minimum(dropouts[1:], MAX_DROPOUT)
    return Population(rates=rates, dropouts=dropouts)


def rank_members(figures: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """Sorts the members by figure, ties by loss, then by index; members without a finite loss come last.

    Args:
        figures: (members,) figures to rank by; less is better.
        losses: (members,) validation losses.

    Returns:
        (members,) int64 indices of the members, the best first.
    """
    diverged = ~np.isfinite(losses)
    indices = np.arange(len(losses))
    return np.lexsort((indices, np.where(diverged, np.inf, losses), np.where(diverged, np.inf, figures), diverged))


def next_generation(
    population: Population,
    *,
    figures: NDArray[np.float64],
    losses: NDArray[np.float64],
    generator: np.random.Generator,
) -> Generation:
    """Replaces members by copies of better ones (exploit) and changes the copies' hyperparameters (explore).

    The worst quarter and all members without a finite loss are replaced; the others stay unchanged.

    Args:
        population: hyperparameters before the selection.
        figures: (members,) figures to rank by; less is better.
        losses: (members,) validation losses; at least one is finite.
        generator: source of all random numbers.
    """
    ranking = rank_members(figures, losses)
    finite = [int(member) for member in ranking if math.isfinite(losses[member])]
    quarter = max(len(population) // _SHARE, 1)
    best = finite[:quarter]
    survivors = set(finite[: len(population) - quarter])  # all of the best survive: a quarter is at most a half
    worst = [int(member) for member in ranking if int(member) not in survivors]
    parents = np.arange(len(population))
    rates, dropouts = population.rates.copy(), population.dropouts.copy()
    for member in worst:
        parent = best[generator.integers(len(best))]
        by_rate, by_dropout = generator.choice(STEPS, size=2)
        parents[member] = parent
        rates[member] = population.rates[parent] * by_rate
        dropouts[member] = min(population.dropouts[parent] * by_dropout, MAX_DROPOUT)
    return Generation(parents=parents, population=Population(rates=rates, dropouts=dropouts))
