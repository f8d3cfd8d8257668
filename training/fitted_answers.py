"""The answers of a fitted network to the parts of a table, and the calibration and the decision by these answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.checkpoint import Checkpoint
from models.conformal import Conformal
from models.network.inference_network import InferenceNetwork
from training.calibration import calibrate
from training.config import DECIDED_METRICS, TrainConfig
from training.data.class_balance import class_shares
from training.data.scratch import release_pages
from training.decision import decided
from training.out_of_fold import answers_of_configurations, pieces
from training.prepared_rows import PreparedRows


def answers_of_part(network: InferenceNetwork, x: NDArray[np.float32]) -> NDArray[Any]:
    """Computes the answers in the unit of the target: (rows, in_features) → (rows, out_features)."""
    answers = np.concatenate([network.answer(piece) for piece in pieces(network, x)])
    release_pages()
    return answers


def _of_members(checkpoint: Checkpoint, rows: PreparedRows) -> tuple[NDArray[np.float32], tuple[int, ...] | None]:
    """Returns the members' answers to the validation part, (members, rows, …), and the weights of the members.

    With folds, these are the out-of-fold answers of each configuration: of one, or of those of a portfolio. None stands
    for equal weights.
    """
    network = checkpoint.inference_network()
    if rows.split.folds is None:
        parts = pieces(network, rows.x["validation"])
        return np.concatenate([network.forward_members(piece) for piece in parts], axis=1), network.weights
    answers = answers_of_configurations(network, rows.x["train"], rows.split.folds)
    if network.weights is None:
        return answers, None
    return answers, network.weights[:: len(network.weights) // len(answers)]


def _weights(rows: PreparedRows) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
    """Returns the weights of the rows of training and of validation; None for equal weights."""
    return (None, None) if rows.weight is None else (rows.weight["train"], rows.weight["validation"])


def decided_checkpoint(checkpoint: Checkpoint, rows: PreparedRows, metric: str) -> Checkpoint:
    """Returns the checkpoint with the decision between classes that is best for a metric."""
    of_members, member_weights = _of_members(checkpoint, rows)
    train, validation = _weights(rows)
    shares = class_shares(rows.y["train"], of_members.shape[2], train)
    return decided(
        checkpoint,
        metric,
        of_members,
        rows.y["validation"],
        validation,
        shares=shares,
        member_weights=member_weights,
    )


def calibrated_checkpoint(checkpoint: Checkpoint, rows: PreparedRows, *, is_honest: bool) -> Checkpoint:
    """Returns the checkpoint with a calibration fitted on the validation part."""
    of_members, member_weights = _of_members(checkpoint, rows)
    train, validation = _weights(rows)
    shares = class_shares(rows.y["train"], of_members.shape[2], train)
    return calibrate(
        checkpoint,
        of_members,
        rows.y["validation"],
        validation,
        shares=shares,
        is_honest=is_honest,
        member_weights=member_weights,
    )


def served_checkpoint(checkpoint: Checkpoint, rows: PreparedRows, config: TrainConfig) -> Checkpoint:
    """Returns the checkpoint for serving, with a calibration and with the decision of the metric.

    Args:
        checkpoint: trained network.
        rows: encoded rows of the run.
        config: settings of the run, which may leave out either.
    """
    if config.calibrate and config.split is not None and checkpoint.config.output == "softmax":
        # The networks of each configuration of a portfolio are calibrated already.
        is_honest = config.portfolio or (config.select_by == "loss" and not config.label_smoothing)
        checkpoint = calibrated_checkpoint(checkpoint, rows, is_honest=is_honest)
    if config.metric in DECIDED_METRICS:
        checkpoint = decided_checkpoint(checkpoint, rows, config.metric)
    return checkpoint


def conformal_scores(checkpoint: Checkpoint, rows: PreparedRows, answers: NDArray[Any]) -> Conformal | None:
    """Returns the scores of the test part, None for a perceptron.

    The validation part has chosen the epoch and the temperature, so its errors are smaller than those of new rows.

    Args:
        checkpoint: trained model.
        rows: encoded rows of the run; those of weight 0 do not count, and all others count once.
        answers: `(rows, out_features)` answers to the test part.
    """
    truth = rows.y["test"]
    if rows.weight is not None:
        counts = rows.weight["test"] > 0
        answers, truth = answers[counts], truth[counts]
    if checkpoint.config.has_probabilities:
        return Conformal.of_classes(answers, truth)
    if checkpoint.config.n_classes:
        return None
    return Conformal.of_values(answers if truth.ndim == 2 else answers[:, 0], truth)
