"""A population: the hyperparameters of networks that train side by side, and who takes over from whom.

Population-based training after Jaderberg et al. 2017, "Population Based Training of Neural Networks", with truncation
selection: the worst quarter goes on from copies of the best (exploit), with hyperparameters a step away (explore).
Nothing here trains; all chance is the generator's that is given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import ConfigError
from models.network.config import MAX_MEMBERS

RATE_SPREAD = 4.0  # a first learning rate is between a quarter of the recipe's and four times it
DROPOUT_SPREAD = 3.0
MAX_DROPOUT = 0.89
STEPS = (0.8, 1.25)  # by one of which an explored hyperparameter is multiplied; each undoes the other
_SHARE = 4  # a quarter is replaced, by a quarter


@dataclass(frozen=True, kw_only=True)
class Population:
    """The hyperparameters in which members differ.

    Attributes:
        rates: (members,) factors on the recipe's learning rate.
        dropouts: (members,) probabilities.

    Raises:
        ConfigError: fewer than two members, more than can be, or a value that cannot be.
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
    """What a round of selection came to.

    Attributes:
        parents: (members,) int64, from whom each member goes on: itself, or the one that it is replaced by.
        population: the hyperparameters from then on.
    """

    parents: NDArray[np.int64]
    population: Population


def initial_population(members: int, *, dropout: float, generator: np.random.Generator) -> Population:
    """A first population: the recipe's own hyperparameters, and others around them, evenly spread by their logarithm.

    Args:
        members: how many.
        dropout: the recipe's; where it is 0 it is everybody's.
        generator: of all chance.

    Raises:
        ConfigError: not a number of members that can be.
    """
    if isinstance(members, bool) or not isinstance(members, int) or not 2 <= members <= MAX_MEMBERS:
        raise ConfigError(f"a population has 2 to {MAX_MEMBERS} members, got {members!r}.")
    exponents = generator.uniform(-1, 1, size=(2, members))  # of the spreads
    exponents[:, 0] = 0
    rates, dropouts = RATE_SPREAD ** exponents[0], dropout * DROPOUT_SPREAD ** exponents[1]
    dropouts[1:] = np.minimum(dropouts[1:], MAX_DROPOUT)
    return Population(rates=rates, dropouts=dropouts)


def rank_members(figures: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.int64]:
    """(members,) the members, the best first: least figure, then least loss, then first; without a finite loss, last.

    Args:
        figures: (members,) of which less is better.
        losses: (members,)
    """
    astray = ~np.isfinite(losses)
    places = np.arange(len(losses))
    return np.lexsort((places, np.where(astray, np.inf, losses), np.where(astray, np.inf, figures), astray))


def next_generation(
    population: Population,
    *,
    figures: NDArray[np.float64],
    losses: NDArray[np.float64],
    generator: np.random.Generator,
) -> Generation:
    """Exploit and explore. Who is neither among the worst quarter nor astray stays as it is.

    Args:
        population: as it is.
        figures: (members,) of which less is better.
        losses: (members,); one that is not finite makes its member one of the worst. One at least is.
        generator: of all chance.
    """
    ranking = rank_members(figures, losses)
    sound = [int(member) for member in ranking if math.isfinite(losses[member])]
    quarter = max(len(population) // _SHARE, 1)
    best = sound[:quarter]
    left = set(sound[: len(population) - quarter])  # none of them is among the best: a quarter is at most a half
    worst = [int(member) for member in ranking if int(member) not in left]
    parents = np.arange(len(population))
    rates, dropouts = population.rates.copy(), population.dropouts.copy()
    for member in worst:
        parent = best[generator.integers(len(best))]
        by_rate, by_dropout = generator.choice(STEPS, size=2)
        parents[member] = parent
        rates[member] = population.rates[parent] * by_rate
        dropouts[member] = min(population.dropouts[parent] * by_dropout, MAX_DROPOUT)
    return Generation(parents=parents, population=Population(rates=rates, dropouts=dropouts))
