"""A training run as data: engine, architecture, optimiser, schedule, split and seed. Saved with what it trained."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from models.config import Activation, Initialization, MLPConfig, Normalization, Output
from models.errors import ConfigError
from training.data.split import Shares, check_shares

Engine = Literal["torch", "numpy", "perceptron"]
Optimizer = Literal["adamw", "adam", "sgd", "perceptron"]

DEFAULT_SPLIT: Shares = (0.7, 0.15, 0.15)

_OPTIMIZERS: dict[Engine, tuple[Optimizer, ...]] = {
    "torch": ("adamw", "adam"),
    "numpy": ("sgd",),
    "perceptron": ("perceptron",),
}
_LEARNING_RATES: dict[Engine, float] = {"torch": 0.003, "numpy": 0.05, "perceptron": 1.0}
_MIN_BATCH, _MAX_BATCH, _BATCHES_PER_EPOCH = 16, 1024, 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run, described. A field left at None takes its engine's default, and then holds it.

    Attributes:
        engine: `torch` (PyTorch), `numpy` (from scratch) or `perceptron` (Rosenblatt's rule; two classes only).
        hidden_sizes: widths of the hidden layers; `(64, 64)`, and none for a perceptron.
        activation, dropout, normalization, initialization, bias: as in `MLPConfig`.
        optimizer: torch: `adamw` (decoupled weight decay) or `adam` (L2 penalty); numpy: `sgd` with momentum 0.9;
            perceptron: its own rule.
        learning_rate: at the start; torch and numpy let it fall to 0 along a half cosine. 0.003 for torch, 0.05
            for numpy, 1 for a perceptron.
        weight_decay: on weight matrices only for torch; biases and normalisations are left alone. 0.01 for adamw.
        batch_size: rows a step; None takes a power of two near a 32nd of the training rows, from 16 to 1024.
        epochs: passes over the training part, at most.
        patience: epochs without a new best validation loss after which to stop; None never stops early.
        clip_norm: the gradient's norm over all parameters is cut down to this.
        seed: of the split, the initial weights, the order of rows and dropout.
        split: shares of train, validation and test; None uses the whole table for each (a truth table).

    Raises:
        ConfigError: a value that cannot be, or that the engine does not have; named.
    """

    engine: Engine = "torch"
    hidden_sizes: tuple[int, ...] | None = None
    activation: Activation = "relu"
    dropout: float = 0.0
    normalization: Normalization = "none"
    initialization: Initialization = "he"
    bias: bool = True
    optimizer: Optimizer | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    batch_size: int | None = None
    epochs: int = 200
    patience: int | None = 30
    clip_norm: float = 1.0
    seed: int = 0
    split: Shares | None = DEFAULT_SPLIT

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise ConfigError(f"engine must be one of {', '.join(get_args(Engine))}; got {self.engine!r}.")
        self._fill_in()
        if self.optimizer not in _OPTIMIZERS[self.engine]:
            allowed = " or ".join(_OPTIMIZERS[self.engine])
            raise ConfigError(f"the {self.engine} engine's optimizer is {allowed}; got {self.optimizer!r}.")
        if self.engine == "perceptron":
            self._check_perceptron()
        _positive("learning_rate", self.learning_rate)
        _positive("clip_norm", self.clip_norm)
        if not _is_number(self.weight_decay) or not 0 <= float(self.weight_decay or 0) < math.inf:
            raise ConfigError(f"weight_decay must be 0 or more, got {self.weight_decay!r}.")
        _at_least("epochs", self.epochs, 1)
        _at_least("seed", self.seed, 0)
        if self.seed >= 2**63:  # torch takes 64 bits, signed
            raise ConfigError(f"seed must be below 2⁶³, got {self.seed!r}.")
        if self.batch_size is not None:
            _at_least("batch_size", self.batch_size, 1)
        if self.patience is not None:
            _at_least("patience", self.patience, 1)
        if self.split is not None:
            object.__setattr__(self, "split", check_shares(self.split))
        self.architecture(in_features=1, out_features=2)  # refuses the fields that are the architecture's

    def architecture(self, *, in_features: int, out_features: int, output: Output | None = None) -> MLPConfig:
        """The network to train.

        Args:
            in_features: width of the encoded rows.
            out_features: classes, or 1.
            output: None for a classifier's own, softmax or a perceptron's step.

        Raises:
            ConfigError: it cannot be built.
        """
        is_step = self.engine == "perceptron" and output is None
        return MLPConfig(
            layer_sizes=(in_features, *self.hidden, 1 if is_step else out_features),
            activation=self.activation,
            output="step" if is_step else output or "softmax",
            dropout=self.dropout,
            normalization=self.normalization,
            initialization=self.initialization,
            bias=self.bias,
        )

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the hidden layers, never None."""
        return self.hidden_sizes or ()

    @property
    def rate(self) -> float:
        """The learning rate, never None."""
        return self.learning_rate or _LEARNING_RATES[self.engine]

    @property
    def decay(self) -> float:
        """The weight decay, never None."""
        return self.weight_decay or 0.0

    def batch_size_for(self, rows: int) -> int:
        """Rows a step, for a training part of `rows`."""
        if self.batch_size is not None:
            return min(self.batch_size, rows)
        power_of_two = 1 << max(rows // _BATCHES_PER_EPOCH, 1).bit_length() - 1
        return min(max(power_of_two, _MIN_BATCH), _MAX_BATCH, rows)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        as_json = {"hidden_sizes": list(self.hidden), "split": None if self.split is None else list(self.split)}
        return asdict(self) | as_json

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """The fields that can be set, in order."""
        return tuple(field.name for field in fields(cls))

    def _fill_in(self) -> None:
        is_perceptron = self.engine == "perceptron"
        if self.hidden_sizes is None:
            object.__setattr__(self, "hidden_sizes", () if is_perceptron else (64, 64))
        elif isinstance(self.hidden_sizes, list):
            object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if not isinstance(self.hidden_sizes, tuple):
            raise ConfigError(f"hidden_sizes must be a sequence of widths, got {self.hidden_sizes!r}.")
        if self.optimizer is None:
            object.__setattr__(self, "optimizer", _OPTIMIZERS[self.engine][0])
        if self.learning_rate is None:
            object.__setattr__(self, "learning_rate", _LEARNING_RATES[self.engine])
        if self.weight_decay is None:
            object.__setattr__(self, "weight_decay", 0.01 if self.optimizer == "adamw" else 0.0)

    def _check_perceptron(self) -> None:
        """Refuses what a lone threshold unit does not have, rather than pass over what was asked for."""
        for name, value, absent in (
            ("hidden_sizes", self.hidden_sizes, ()),
            ("dropout", self.dropout, 0.0),
            ("normalization", self.normalization, "none"),
            ("weight_decay", self.weight_decay, 0.0),
            ("bias", self.bias, True),
        ):
            if value != absent:
                raise ConfigError(f"a perceptron is one threshold unit with a bias and has no {name}={value!r}.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _positive(name: str, value: object) -> None:
    if not _is_number(value) or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be positive and finite, got {value!r}.")


def _at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}.")
