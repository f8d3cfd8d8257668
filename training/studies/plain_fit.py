"""A whole training run with the plainest settings: Linear layers, one nonlinearity, AdamW, and nothing more."""

from __future__ import annotations

from models.network.config import Activation
from training.fit import FittedModel, fit


def fit_plain(
    dataset: str, *, hidden_sizes: tuple[int, ...], epochs: int, seed: int, activation: Activation = "relu"
) -> FittedModel:
    """Trains a network without normalisation and dropout, so that what a study varies is all that varies.

    Args:
        dataset: a built-in one.
        hidden_sizes: widths of the hidden layers.
        epochs: at most.
        seed: of the split, the weights and the order of rows.
        activation: of the hidden layers.
    """
    return fit(
        dataset,
        recipe="classic",
        hidden_sizes=hidden_sizes,
        activation=activation,
        normalization="none",
        dropout=0.0,
        optimizer="adamw",
        learning_rate=0.003,
        weight_decay=0.01,
        epochs=epochs,
        seed=seed,
        device="cpu",
    )
