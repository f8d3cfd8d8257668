"""The perceptron engine: Rosenblatt's rule on the training part, and a verdict on whether it could learn it."""

from __future__ import annotations

from models.network.config import MLPConfig
from models.network.perceptron import Perceptron, PerceptronHistory
from training.config import TrainConfig
from training.engines.engine import Epoch, Matrices, OnEpoch, ShouldStop, Stopped, Trained


def train(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
) -> Trained:
    """Trains a threshold unit on two classes. The weights kept are the last: the rule knows no better epoch.

    The rows keep their order from epoch to epoch, so that a run that goes round for ever is found out.

    Args:
        config: how to train; `learning_rate` and `epochs` matter.
        architecture: one threshold unit.
        data: rows and targets; the validation part is not looked at.
        on_epoch: told of each epoch.
        should_stop: asked after each epoch.
    """
    perceptron = Perceptron(architecture.in_features)
    mistakes: list[int] = []

    def after_epoch(number: int, made: int) -> None:
        mistakes.append(made)
        on_epoch(Epoch(number=number, of=config.epochs, measures={"mistakes": made}, is_best=True))
        if should_stop():
            raise _Asked

    try:
        history = perceptron.fit(
            data.x, data.y, learning_rate=config.learning_rate, max_epochs=config.epochs, on_epoch=after_epoch
        )
        asked = False
    except _Asked:  # between two epochs: the weights are whole
        history = PerceptronHistory(tuple(mistakes))
        asked = True
    return Trained(
        architecture=perceptron.config,
        tensors=perceptron.to_tensors(),
        epochs_run=history.epochs,
        best_epoch=history.epochs,
        stopped=_stopped(history, asked=asked),
        history={"mistakes": list(history.mistakes)},
        verdict=f"The perceptron {history.verdict}",
    )


class _Asked(Exception):
    """Somebody asked to stop; never leaves this module."""


def _stopped(history: PerceptronHistory, *, asked: bool) -> Stopped:
    if history.converged:
        return "converged"
    if history.cycled:
        return "cycled"
    return "asked" if asked else "epochs"
