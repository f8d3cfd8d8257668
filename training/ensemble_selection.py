"""Greedy ensemble selection: the weights of models in a mean of their answers, chosen on held-out rows.

Caruana, Niculescu-Mizil, Crew & Ksikes 2004, Ensemble selection from libraries of models.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.errors import TrainingError

# A figure of answers, of which less is better; later numbers decide between equal ones.
Figure = tuple[float, ...]
Answers = NDArray[np.floating]

# Each model that stays is computed for each request, so one stays only if the mean without it is clearly worse.
LEAST_GAIN = 0.01  # of the figure
ROUNDS = 20  # weights are multiples of about a 20th; the gain of a finer mean is within the noise of the rows


def select(
    answers: NDArray[np.floating], figure: Callable[[Answers], Figure], *, rounds: int = ROUNDS
) -> tuple[int, ...]:
    """Chooses how often each model counts in the mean; models that do not help count 0 times.

    The selection begins with the best n models, for the n with the best figure (sorted initialisation), adds in each
    round the model that helps most or harms least, with replacement, and takes the best mean that it has met. Then the
    models leave without which the figure is at most `LEAST_GAIN` greater. The result is never worse on these rows than
    the best single model, which is returned unless a mean is strictly better. A model with an answer or a figure that
    is not finite, as after a training that diverged, is never chosen.

    Args:
        answers: `(models, rows, outputs)` answers of each model to rows that it did not learn from.
        figure: function from answers, `(rows, outputs)`, to their figure.
        rounds: number of models to add after the beginning, repeated ones included.

    Returns:
        Whole numbers, one for each model, without a common divisor.

    Raises:
        TrainingError: no model has finite answers with a finite figure.
    """
    sound = [at for at, own in enumerate(answers) if np.isfinite(own).all() and np.isfinite(figure(own)).all()]
    if not sound:
        raise TrainingError(
            f"none of {len(answers):,} models has finite answers to the rows that it did not learn from; try a smaller "
            "learning rate (--learning-rate)."
        )
    counts = np.zeros(len(answers), dtype=np.int64)
    counts[sound] = _select_among(answers if len(sound) == len(answers) else answers[sound], figure, rounds)
    return tuple(counts.tolist())


def _select_among(answers: NDArray[np.floating], figure: Callable[[Answers], Figure], rounds: int) -> NDArray[np.int64]:
    """Returns the counts of models with finite answers and figures, (models,)."""
    models = len(answers)
    alone = [figure(own) for own in answers]
    order = sorted(range(models), key=alone.__getitem__)
    best_counts = np.bincount(order[:1], minlength=models)
    best = alone[order[0]]
    for n in range(2, models + 1):
        counts = np.bincount(order[:n], minlength=models)
        if (reached := figure(_mean(answers, counts))) < best:
            best, best_counts = reached, counts
    counts = best_counts.copy()
    for _ in range(rounds):
        more = counts + np.eye(models, dtype=np.int64)  # (models, models), one model added in each row
        reached, model = min((figure(_mean(answers, row)), model) for model, row in enumerate(more))
        counts = more[model]
        if reached < best:
            best, best_counts = reached, counts
    best_counts = _without_the_needless(answers, figure, best_counts, most=best[0] + LEAST_GAIN * abs(best[0]))
    if not figure(_mean(answers, best_counts)) < alone[order[0]]:
        best_counts = np.bincount(order[:1], minlength=models)
    divisor = math.gcd(*best_counts.tolist())
    return np.asarray(best_counts // divisor)


def _without_the_needless(
    answers: Answers, figure: Callable[[Answers], Figure], counts: NDArray[np.int64], *, most: float
) -> NDArray[np.int64]:
    """Removes models one by one, the least useful first, while the figure stays at or below `most`."""
    while (counts > 0).sum() > 1:
        fewer = [np.where(np.arange(len(counts)) == model, 0, counts) for model in np.flatnonzero(counts)]
        reached, at = min((figure(_mean(answers, row)), at) for at, row in enumerate(fewer))
        if reached[0] > most:
            break
        counts = fewer[at]
    return counts


def _mean(answers: Answers, counts: NDArray[np.int64]) -> Answers:
    """Returns the weighted mean of the models' answers, (rows, outputs)."""
    return np.asarray(np.tensordot(counts / counts.sum(), answers, axes=1))
