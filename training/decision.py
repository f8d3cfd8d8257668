"""The decision between classes for a metric: a shift of the logits, chosen on validation rows and part of the network.

The answer is always the class with the greatest probability. For accuracy this is the best answer. For balanced
accuracy and F1 a rarer class should be answered earlier. So the logits of the served network get a shift by class, in
the bias of the last Linear: -τ·log(share of the class). τ = 0 answers the most probable class, and τ = 1 the class that
would be most probable if all were equally common, which is best for balanced accuracy (Menon et al. 2021). For F1, τ is
the one that is best on the validation rows. Since the shift is in the network, every way of serving has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from training.calibration import mean_of_members, with_shift
from training.data.class_balance import least_share
from training.metrics import f1_macro

_STRENGTHS = np.arange(0, 1.55, 0.05)  # values of τ to try
_TINY = 1e-30


def decided(
    checkpoint: Checkpoint,
    metric: str,
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    weight: NDArray[np.float64] | None = None,
    *,
    shares: NDArray[np.float64],
    member_weights: Sequence[int] | None = None,
) -> Checkpoint:
    """Returns the checkpoint with the decision that is best for a metric.

    Args:
        checkpoint: calibrated checkpoint of a classifier.
        metric: `balanced-accuracy` or `f1`.
        probabilities: `(members, rows, classes)` probabilities of the members for the validation rows.
        truth: `(rows,)` class indices.
        weight: `(rows,)` relative weight of each row; None for equal weights.
        shares: `(classes,)` share of each class in the training part.
        member_weights: `(members,)` weight of each member in the mean of their probabilities; None for equal weights.
    """
    logs = np.log(np.maximum(shares, least_share(len(truth), len(shares))))
    logs -= logs.mean()
    strength = 1.0
    if metric != "balanced-accuracy":
        strength = _best_strength(probabilities, truth, weight, logs, member_weights)
    shift = -strength * logs
    record: dict[str, Any] = {
        "metric": metric,
        "strength": round(strength, 2),
        "shift": [float(f"{s:.7g}") for s in shift],
    }
    # The probability of class 1 before the shift from which on class 1 is answered. Each member of an ensemble is
    # shifted, so that no threshold on the mean of their probabilities decides.
    if len(shares) == 2 and checkpoint.config.members == 1:
        record["threshold"] = float(f"{1 / (1 + np.exp(shift[1] - shift[0])):.7g}")
    shifted = with_shift(checkpoint, shift)
    return replace(shifted, training={**shifted.training, "decision": record})


def _best_strength(
    probabilities: NDArray[np.float32],
    truth: NDArray[np.int64],
    weight: NDArray[np.float64] | None,
    logs: NDArray[np.float64],
    member_weights: Sequence[int] | None,
) -> float:
    """Returns the τ with the highest F1 on the rows; of equal ones the least."""
    answers = (_answers(probabilities, -tau * logs, member_weights) for tau in _STRENGTHS)
    scores = [f1_macro(own, truth, len(logs), weight) for own in answers]
    return float(_STRENGTHS[int(np.argmax(scores))])


def _answers(
    probabilities: NDArray[np.float32], shift: NDArray[np.float64], member_weights: Sequence[int] | None
) -> NDArray[np.int64]:
    """Returns the (rows,) answers of the (weighted) mean of the members, each with shifted logits."""
    shifted = np.maximum(probabilities.astype(np.float64), _TINY) * np.exp(shift)
    shifted /= shifted.sum(axis=-1, keepdims=True)
    return np.asarray(mean_of_members(shifted, member_weights).argmax(axis=-1))
