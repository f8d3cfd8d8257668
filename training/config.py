"""A training run as data: engine, architecture, optimiser, schedule, split and seed. Saved with what it trained."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final, Literal, get_args

from models.errors import ConfigError
from models.network.config import MAX_MEMBERS, Activation, MLPConfig, Normalization, Output, Task
from models.network.inputs import InputConfig
from training import recipes
from training.data.split import Shares, check_shares
from training.data.training_table import TrainingTable
from training.recipes import (
    Engine,
    Initializer,
    Optimizer,
    Precision,
    Recipe,
    Regularization,
    Scaling,
    Schedule,
    Selection,
)

DEFAULT_SPLIT: Shares = (0.7, 0.15, 0.15)

ClassWeight = Literal["none", "balanced"]

_OPTIMIZERS: dict[Engine, tuple[Optimizer, ...]] = {
    "torch": ("adamw", "adam"),
    "numpy": ("sgd",),
    "perceptron": ("perceptron",),
    "linear": ("solver",),
}
_MIN_BATCH, _MAX_BATCH, _BATCHES_PER_EPOCH = 16, 1024, 32


class _FromRecipe(enum.Enum):
    TOKEN = enum.auto()

    def __repr__(self) -> str:
        return "the recipe's"


# What a field holds until the recipe has set it; None will not do, since it means something to some fields.
FROM_RECIPE: Final[Any] = _FromRecipe.TOKEN
_NONE_MEANS_SOMETHING = frozenset({"patience", "batch_size", "clip_norm", "clip_inputs"})


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """Describes one training run. A field that is not given is the recipe's: `training.recipes` has the values.

    Attributes:
        engine: `torch` (PyTorch), `numpy` (from scratch), `perceptron` (Rosenblatt's rule; two classes only) or
            `linear` (no hidden layers: logistic or ridge regression, solved).
        recipe: `default` (RealMLP's, strong on tables) or `classic` (BatchNorm, dropout, He, Adam).
        members: networks trained side by side from different initial weights and served as one, by the mean of their
            answers (Lakshminarayanan et al. 2017, deep ensembles).
        hidden_sizes: widths of the hidden layers; none for a perceptron and a linear model.
        activation, dropout, normalization, bias: as in `MLPConfig`. The default recipe's activation and learning rate
            depend on the task, as do its label smoothing, weight decay, `select_by` and clamp; they stay None until
            `for_task`.
        learned_activation: whether each hidden unit learns how much of its activation it takes.
        initialization: `he`, `xavier`, or `data`: unit spread of each unit over a sample of the training part, biases
            at minus a random mean of five rows (RealMLP's he+5).
        parametrization: `standard`, or `ntk`: weights divided by √n_in (Jacot et al. 2018), with RealMLP's factors on
            the learning rates of biases, scales and embeddings.
        scaling: of numbers: `standard` (mean and deviation) or `robust` (median and inter-quartile range).
        clip_inputs: where numbers are smoothly clipped, in scaled units; None for nowhere.
        frequencies: of each number's periodic embedding; 0 for none.
        embedding_size: of each column of more than nine categories; 0 to make them one-hot too.
        scale_inputs: whether each feature has a learned scale.
        optimizer: torch: `adamw` (decoupled weight decay) or `adam` (L2 penalty); numpy: `sgd` with momentum 0.9;
            perceptron: its own rule; linear: a solver.
        learning_rate: at its highest.
        beta2: Adam's share of the old in the mean square of gradients.
        weight_decay: on matrices, and in the NTK parametrisation on all but biases; the default recipe's is higher
            where a class is rare and rows are few. Of a linear model, the L2 penalty beside the summed
            loss.
        schedule: of the learning rate: `cosine` (half of one, down to 0), `coslog4` (four ever longer waves) or
            `constant`.
        regularization: of dropout and weight decay: `constant`, or `flat_cosine`: from the middle of the run on they
            fall to 0 along half a cosine.
        label_smoothing: share of each label spread over all classes, by their shares, in training; the default
            recipe's is 0 where one class has 90 % of the rows.
        class_weight: `balanced` weighs rows so that all classes count alike; `none` does not.
        drop_categories: share of the cells of categorical columns that read as unknown in training, so that the
            network knows what to make of a category that it has not seen; only where serving takes such categories.
        clip_norm: the gradient's norm over all parameters is cut down to this; None does not.
        batch_size: rows a step; None takes a power of two near a 32nd of the training rows, from 16 to 1024.
        drop_last: whether an epoch leaves out the rows that do not fill a batch, other ones each time, rather than
            learn from a small one.
        epochs: passes over the training part, at most.
        patience: epochs without a new best after which to stop; None never stops early.
        select_by: what the best epoch has least of on the validation part: `loss`, or `error` (misclassified rows, or
            the loss of a regression); of equal losses the first is kept, of equal errors the last. The default
            recipe's is `loss` where a class is rare: a fifth of the share that it would have if all had the same.
        calibrate: whether a classifier's probabilities are calibrated on the validation part, by one temperature (Guo
            et al. 2017) and by class.
        clamp: whether a regression's answers are kept within the range of the training part.
        precision: of matrix products in training: `float32`, or `bfloat16` where that is faster; weights, sums and
            what is served stay float32.
        seed: of the split, the initial weights, the order of rows and dropout.
        split: shares of train, validation and test; None uses the whole table for each (a truth table).

    Raises:
        ConfigError: a value that cannot be, or that the engine does not have; named.
    """

    engine: Engine = "torch"
    recipe: Recipe = FROM_RECIPE
    members: int = 1
    hidden_sizes: tuple[int, ...] = FROM_RECIPE
    activation: Activation = FROM_RECIPE
    learned_activation: bool = FROM_RECIPE
    dropout: float = FROM_RECIPE
    normalization: Normalization = FROM_RECIPE
    initialization: Initializer = FROM_RECIPE
    parametrization: Literal["standard", "ntk"] = FROM_RECIPE
    bias: bool = True
    scaling: Scaling = FROM_RECIPE
    clip_inputs: float | None = FROM_RECIPE
    frequencies: int = FROM_RECIPE
    embedding_size: int = FROM_RECIPE
    scale_inputs: bool = FROM_RECIPE
    optimizer: Optimizer = FROM_RECIPE
    learning_rate: float = FROM_RECIPE
    beta2: float = FROM_RECIPE
    weight_decay: float = FROM_RECIPE
    schedule: Schedule = FROM_RECIPE
    regularization: Regularization = FROM_RECIPE
    label_smoothing: float = FROM_RECIPE
    class_weight: ClassWeight = "none"
    drop_categories: float = FROM_RECIPE
    clip_norm: float | None = FROM_RECIPE
    batch_size: int | None = FROM_RECIPE
    drop_last: bool = FROM_RECIPE
    epochs: int = FROM_RECIPE
    patience: int | None = FROM_RECIPE
    select_by: Selection = FROM_RECIPE
    calibrate: bool = FROM_RECIPE
    clamp: bool = FROM_RECIPE
    precision: Precision = "float32"
    seed: int = 0
    split: Shares | None = DEFAULT_SPLIT

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, Engine)
        self._fill_in()
        self._check()

    def for_table(self, table: TrainingTable) -> TrainConfig:
        """With everything set for a table; raises what `for_task` does."""
        return self.for_task(table.task, shares=table.class_shares, rows=table.rows)

    def for_task(self, task: Task, *, shares: Sequence[float] = (), rows: int = 0) -> TrainConfig:
        """With everything set, also what the recipe has for one task only.

        Args:
            task: the table's.
            shares: of the classes, as `TrainingTable.class_shares` has them; none where they are not known.
            rows: number of rows of the table; 0 where it is not known.

        Raises:
            ConfigError: what was asked for is of the other task.
        """
        known = () if self.class_weight == "balanced" else shares  # balanced, all classes have the same
        waiting = {
            name: value
            for name, value in recipes.values_for(task, self.recipe, shares=known, rows=rows).items()
            if getattr(self, name) is None and self.engine == "torch"
        }
        if task == "regression" and self.label_smoothing:
            raise ConfigError(f"label_smoothing is for classes, got {self.label_smoothing!r} for a regression.")
        if task == "classification" and self.clamp:
            raise ConfigError("clamp keeps a regression's values within their range, and these are classes.")
        return replace(self, **waiting) if waiting else self

    def architecture(
        self,
        *,
        in_features: int,
        out_features: int,
        output: Output | None = None,
        inputs: InputConfig | None = None,
    ) -> MLPConfig:
        """The network to train.

        Args:
            in_features: width of the encoded rows.
            out_features: classes, or 1.
            output: None for a classifier's own, softmax or a perceptron's step.
            inputs: what comes before the first Linear.

        Raises:
            ConfigError: it cannot be built.
        """
        task: Task = "regression" if output == "linear" else "classification"
        settled = self.for_task(task)
        is_step = self.engine == "perceptron" and output is None
        return MLPConfig(
            layer_sizes=(in_features, *self.hidden_sizes, 1 if is_step else out_features),
            activation=settled.activation,
            output="step" if is_step else output or "softmax",
            dropout=self.dropout,
            normalization=self.normalization,
            # Which weights a network began with is no part of what it is; `he` stands for any.
            initialization="xavier" if self.initialization == "xavier" else "he",
            bias=self.bias,
            inputs=inputs,
            learned_activation=self.learned_activation,
            clamp=settled.clamp,
            members=self.members,
        )

    @property
    def embeds_inputs(self) -> bool:
        """Whether anything of the network comes before its first Linear."""
        return bool(self.clip_inputs or self.frequencies or self.embedding_size or self.scale_inputs)

    def batch_size_for(self, rows: int) -> int:
        """Rows a step, for a training part of `rows`."""
        if self.batch_size is not None:
            return min(self.batch_size, rows)
        power_of_two = 1 << max(rows // _BATCHES_PER_EPOCH, 1).bit_length() - 1
        return min(max(power_of_two, _MIN_BATCH), _MAX_BATCH, rows)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        as_json = {"hidden_sizes": list(self.hidden_sizes), "split": None if self.split is None else list(self.split)}
        return asdict(self) | as_json

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """The fields that can be set, in order."""
        return tuple(field.name for field in fields(cls))

    def _fill_in(self) -> None:
        if self.recipe is FROM_RECIPE or self.recipe is None:
            object.__setattr__(self, "recipe", "default" if self.engine == "torch" else "classic")
        _one_of("recipe", self.recipe, Recipe)
        if self.engine != "torch" and self.recipe != "classic":
            raise ConfigError(f"the {self.engine} engine has no recipe {self.recipe!r}: it has its own, the classic.")
        values = recipes.values_of(self.engine, self.recipe)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is FROM_RECIPE or (value is None and field.name in values.keys() - _NONE_MEANS_SOMETHING):
                object.__setattr__(self, field.name, values.get(field.name))
        if isinstance(self.hidden_sizes, list):
            object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if not isinstance(self.hidden_sizes, tuple):
            raise ConfigError(f"hidden_sizes must be a sequence of widths, got {self.hidden_sizes!r}.")

    def _check(self) -> None:
        if self.optimizer not in _OPTIMIZERS[self.engine]:
            allowed = " or ".join(_OPTIMIZERS[self.engine])
            raise ConfigError(f"the {self.engine} engine's optimizer is {allowed}; got {self.optimizer!r}.")
        for name, literal in (
            ("initialization", Initializer),
            ("scaling", Scaling),
            ("schedule", Schedule),
            ("regularization", Regularization),
            ("select_by", Selection),
            ("class_weight", ClassWeight),
            ("precision", Precision),
        ):
            if name != "select_by" or self.select_by is not None:  # None until the task is known
                _one_of(name, getattr(self, name), literal)
        if self.parametrization not in ("standard", "ntk"):
            raise ConfigError(f"parametrization must be standard or ntk; got {self.parametrization!r}.")
        if self.engine == "perceptron":
            self._check_perceptron()
        elif self.engine == "linear":
            self._check_linear()
        elif self.engine == "numpy":
            self._check_plain("the numpy engine")
        if self.learning_rate is not None:
            _positive("learning_rate", self.learning_rate)
        for name in ("clip_norm", "clip_inputs"):
            if getattr(self, name) is not None:
                _positive(name, getattr(self, name))
        if self.label_smoothing is not None:
            _share("label_smoothing", self.label_smoothing)
        _share("beta2", self.beta2)
        _share("drop_categories", self.drop_categories)
        if self.weight_decay is not None and not (
            _is_number(self.weight_decay) and 0 <= float(self.weight_decay) < math.inf
        ):
            raise ConfigError(f"weight_decay must be 0 or more, got {self.weight_decay!r}.")
        for name in ("learned_activation", "scale_inputs", "drop_last", "calibrate", "clamp"):
            value = getattr(self, name)
            is_open = name == "clamp" and value is None  # until the task is known
            if not isinstance(value, bool) and not is_open:
                raise ConfigError(f"{name} must be true or false, got {value!r}.")
        for name, least in (("epochs", 1), ("seed", 0), ("members", 1), ("frequencies", 0), ("embedding_size", 0)):
            _at_least(name, getattr(self, name), least)
        if self.members > MAX_MEMBERS:
            raise ConfigError(f"members must be at most {MAX_MEMBERS}, got {self.members!r}.")
        if self.seed >= 2**63:  # torch takes 64 bits, signed
            raise ConfigError(f"seed must be below 2⁶³, got {self.seed!r}.")
        for name in ("batch_size", "patience"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        if self.split is not None:
            object.__setattr__(self, "split", check_shares(self.split))
        # Refuses the fields that are the architecture's, and those that are of no task together.
        self.architecture(in_features=1, out_features=1 if self.clamp else 2, output="linear" if self.clamp else None)

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
        plain = recipes.values_of("perceptron", "classic")
        for name in ("activation", "initialization", "batch_size", "patience", "clip_norm"):
            if getattr(self, name) != plain[name]:
                raise ConfigError(f"a perceptron learns a row at a time by its own rule and has no {name}.")
        self._check_plain("a perceptron")

    def _check_linear(self) -> None:
        """Refuses what a solved model without hidden layers does not have."""
        plain = recipes.values_of("linear", "classic")
        for name in ("hidden_sizes", "dropout", "normalization", "activation", "initialization"):
            if getattr(self, name) != plain[name]:
                raise ConfigError(f"a linear model has no hidden layers and no {name}={getattr(self, name)!r}.")
        for name in ("learning_rate", "batch_size", "epochs", "patience", "clip_norm", "drop_categories"):
            if getattr(self, name) != plain[name]:
                raise ConfigError(f"a linear model is solved, not trained in steps, and has no {name}.")
        self._check_plain("a linear model")

    def _check_plain(self, who: str) -> None:
        """Refuses the parts that only the torch engine has."""
        plain = recipes.values_of(self.engine, "classic")
        for name in (
            "learned_activation",
            "parametrization",
            "clip_inputs",
            "frequencies",
            "embedding_size",
            "scale_inputs",
            "schedule",
            "regularization",
            "label_smoothing",
            "beta2",
            "drop_last",
            "select_by",
        ):
            if getattr(self, name) != plain[name]:
                raise ConfigError(f"{who} has no {name}={getattr(self, name)!r}: use --engine torch.")
        for name, absent in (("members", 1), ("class_weight", "none"), ("precision", "float32")):
            if getattr(self, name) != absent and (name, self.engine) != ("class_weight", "linear"):
                raise ConfigError(f"{who} has no {name}={getattr(self, name)!r}: use --engine torch.")
        if self.initialization == "data":
            raise ConfigError(f"{who} has no initialization='data': use --engine torch.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_of(name: str, value: object, literal: Any) -> None:
    if value not in get_args(literal):
        raise ConfigError(f"{name} must be one of {', '.join(get_args(literal))}; got {value!r}.")


def _positive(name: str, value: object) -> None:
    if not _is_number(value) or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be positive and finite, got {value!r}.")


def _share(name: str, value: object) -> None:
    if not _is_number(value) or not 0 <= float(value) < 1:  # type: ignore[arg-type]
        raise ConfigError(f"{name} must be in [0, 1), got {value!r}.")


def _at_least(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}.")
