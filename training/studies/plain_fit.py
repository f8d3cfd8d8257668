"""A complete training run with plain settings: Linear layers, one nonlinearity and AdamW."""

from __future__ import annotations

from models.network.config import Activation
from training.fit import fit
from training.fitted_model import FittedModel


def fit_plain(
    dataset: str, *, hidden_sizes: tuple[int, ...], epochs: int, seed: int, activation: Activation = "relu"
) -> FittedModel:
    """Trains a network without normalisation and dropout, so that only the settings of a study vary.

    Args:
        dataset: name of a built-in dataset.
        hidden_sizes: widths of the hidden layers.
        epochs: largest number of epochs.
        seed: seed of the split, the weights and the order of rows.
        activation: activation of the hidden layers.
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
