"""The perceptron engine: Rosenblatt's rule on the training part, with a verdict on its convergence."""

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
    """Trains a threshold unit on two classes and keeps the last weights, since the rule has no best epoch.

    The rows keep their order from epoch to epoch, so that a run that repeats its weights for ever is detected.

    Args:
        config: settings of the run, of which the engine uses `learning_rate` and `epochs`.
        architecture: architecture of one threshold unit.
        data: rows and targets; the validation part is not used.
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.
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
    except _Asked:  # raised between two epochs, so the weights are consistent
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
    """A request to stop the run; used inside this module only."""


def _stopped(history: PerceptronHistory, *, asked: bool) -> Stopped:
    if history.converged:
        return "converged"
    if history.cycled:
        return "cycled"
    return "asked" if asked else "epochs"
