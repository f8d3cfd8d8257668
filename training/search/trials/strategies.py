"""Samplers and pruners: a sampler chooses the next point of a search, a pruner ends trials that lag behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # slow to import, and the command line needs only the names
    import optuna

Sampler = Literal["tpe", "gp", "random", "qmc", "grid"]
Pruner = Literal["median", "hyperband", "none"]

_STARTUP = 10  # number of random trials before TPE and GP use their model
_UNPRUNED = 4  # number of finished trials before their median is used for pruning
_WARMUP_SHARE = 4  # the median pruner ends no trial in the first quarter of the epochs


def make_sampler(kind: Sampler, seed: int, count: int, *, stream: tuple[int, ...] = ()) -> optuna.samplers.BaseSampler:
    """Returns a sampler for the next point.

    Args:
        kind: name of the sampler; a grid needs none, since the search record queues its points.
        seed: seed of the search.
        count: number of earlier trials; seed and count together determine the random numbers.
        stream: numbers that give workers who ask at the same count random numbers of their own.
    """
    import optuna

    drawn = int(np.random.SeedSequence([seed, count, *stream]).generate_state(1)[0])
    match kind:
        case "tpe":  # Bergstra et al. 2011; multivariate, and wary of points that are being trained
            return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=_STARTUP)
        case "gp":
            return optuna.samplers.GPSampler(seed=drawn, n_startup_trials=_STARTUP)
        case "qmc":  # the record holds the position in the sequence, so the sequence's seed must not change
            return optuna.samplers.QMCSampler(
                seed=seed % 2**32,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed=drawn),
                warn_independent_sampling=False,
            )
        case _:
            return optuna.samplers.RandomSampler(seed=drawn)


def make_pruner(kind: Pruner, epochs: int, report_every: int) -> optuna.pruners.BasePruner:
    """Returns a pruner.

    Args:
        kind: name of the pruner.
        epochs: maximum number of epochs of a trial.
        report_every: number of epochs from one report to the next.
    """
    import optuna

    match kind:
        case "median":
            return optuna.pruners.MedianPruner(
                n_startup_trials=_UNPRUNED, n_warmup_steps=epochs // _WARMUP_SHARE, interval_steps=report_every
            )
        case "hyperband":  # Li et al. 2018
            return optuna.pruners.HyperbandPruner(
                min_resource=max(epochs // 27, report_every), max_resource=epochs, reduction_factor=3
            )
        case _:
            return optuna.pruners.NopPruner()
