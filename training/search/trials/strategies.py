"""Samplers and pruners: what chooses a search's next point, and what ends a trial that lags behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:  # heavy, and the command line needs the names alone
    import optuna

Sampler = Literal["tpe", "gp", "random", "qmc", "grid"]
Pruner = Literal["median", "hyperband", "none"]

_STARTUP = 10  # trials at random before TPE and GP believe that they know something
_UNPRUNED = 4  # finished trials before the median of them means something
_WARMUP_SHARE = 4  # a quarter of the epochs in which no trial is judged by the median


def make_sampler(kind: Sampler, seed: int, count: int) -> optuna.samplers.BaseSampler:
    """A sampler.

    Args:
        kind: which; a grid draws nothing, since its points are queued.
        seed: of the search.
        count: trials before the one that is drawn: with the seed it decides what is drawn.
    """
    import optuna

    drawn = int(np.random.SeedSequence([seed, count]).generate_state(1)[0])
    match kind:
        case "tpe":  # Bergstra et al. 2011; multivariate, and wary of points that are being trained
            return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=_STARTUP)
        case "gp":
            return optuna.samplers.GPSampler(seed=drawn, n_startup_trials=_STARTUP)
        case "qmc":  # its place in the sequence is in the record; the sequence's own seed stays
            return optuna.samplers.QMCSampler(
                seed=seed % 2**32,
                scramble=True,
                independent_sampler=optuna.samplers.RandomSampler(seed=drawn),
                warn_independent_sampling=False,
            )
        case _:
            return optuna.samplers.RandomSampler(seed=drawn)


def make_pruner(kind: Pruner, epochs: int, report_every: int) -> optuna.pruners.BasePruner:
    """A pruner.

    Args:
        kind: which.
        epochs: that a trial makes at most.
        report_every: epochs from one report to the next.
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
