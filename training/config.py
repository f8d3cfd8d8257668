"""The configuration of a training run: engine, architecture, optimiser, schedule, split and seed.

A user chooses some of the settings. `resolve` adds the values of the recipe to them, once for each run: all code below
it gets a `TrainConfig`, in which every field has its value. A checkpoint saves this configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, asdict, dataclass, fields
from typing import Any, Literal

from models.errors import ConfigError
from models.network.config import (
    MAX_MEMBERS,
    OUTPUTS_OF_VALUES,
    Activation,
    MLPConfig,
    Normalization,
    Output,
    Task,
)
from models.network.inputs import InputConfig
from training import recipes
from training.data.split import Shares, check_shares
from training.data.training_table import TrainingTable
from training.engine_checks import check_engine_settings
from training.portfolio import CONFIGURATIONS
from training.recipes import (
    METRICS_OF_LOGARITHMS,
    METRICS_OF_VALUES,
    Engine,
    Initializer,
    Metric,
    Optimizer,
    Precision,
    Recipe,
    Regularization,
    Scaling,
    Schedule,
    Selection,
)
from training.setting_checks import (
    EpochPlan,
    at_least,
    check_distilled,
    checked_plan,
    is_number,
    one_of,
    positive,
    share,
)

DEFAULT_SPLIT: Shares = (0.7, 0.15, 0.15)

ClassWeight = Literal["none", "balanced"]
DECIDED_METRICS = ("balanced-accuracy", "f1")  # metrics for which the most probable class is not the best answer

_OPTIMIZERS: dict[Engine, tuple[Optimizer, ...]] = {
    "torch": ("adamw", "adam"),
    "numpy": ("sgd",),
    "perceptron": ("perceptron",),
    "linear": ("solver",),
}
_MIN_BATCH, _MAX_BATCH, _BATCHES_PER_EPOCH = 16, 1024, 32
# Fields that a checkpoint has only if they are used, so that other runs keep their bytes.
OPTIONAL = (
    "metric",
    "quantile",
    "folds",
    "portfolio",
    "distill",
    "category_statistics",
    "rows_per_epoch",
    "epoch_plan",
)
# Fields of the recipe for which None is a value. For the others, None says that the user does not choose.
_FIELDS_WITH_NONE = frozenset({"patience", "batch_size", "clip_norm", "clip_inputs"})

# The choices of a user by field of `TrainConfig`. The recipe has the values of the fields that are absent.
Settings = Mapping[str, Any]


def resolve(settings: Settings, *, task: Task, shares: Sequence[float] = (), rows: int = 0) -> TrainConfig:
    """Returns the configuration of a run: the choices of the user over the values of the recipe.

    Args:
        settings: choices of the user.
        task: task of the table.
        shares: share of each class, as in `TrainingTable.class_shares`; empty if unknown.
        rows: number of rows of the table; 0 if unknown.

    Raises:
        ConfigError: a setting is unknown, has an impossible value, or belongs to another task or engine; the message
            names it.
    """
    known = TrainConfig.setting_names()
    if unknown := sorted(set(settings) - set(known)):
        raise ConfigError(f"unknown setting {unknown[0]!r}; there are {', '.join(known)}.")
    engine = settings.get("engine", "torch")
    one_of("engine", engine, Engine)
    recipe: Recipe = "default" if engine == "torch" else "classic"
    if (asked := settings.get("recipe")) is not None:
        recipe = asked
    _check_recipe(engine, recipe)
    if settings.get("class_weight") == "balanced":
        shares = ()  # balanced classes all have the same share
    if (metric := settings.get("metric")) is not None:
        one_of("metric", metric, Metric)
    values = recipes.values_of(engine, recipe, task=task, shares=shares, rows=rows, metric=metric)
    can_be_none = set(known) - {"recipe", *values} | _FIELDS_WITH_NONE
    chosen = {name: value for name, value in settings.items() if value is not None or name in can_be_none}
    config = TrainConfig(**{**values, **chosen, "engine": engine, "recipe": recipe})
    config.check_task(task)
    return config


def resolve_for_table(settings: Settings, table: TrainingTable) -> TrainConfig:
    """Returns the configuration of a run on a table; raises as `resolve` does."""
    return resolve(settings, task=table.task, shares=table.class_shares, rows=table.rows)


def check_settings(settings: Settings) -> None:
    """Refuses impossible settings before the table is read and its task is known.

    Raises:
        ConfigError: no task has a run with these settings.
    """
    is_regression = settings.get("clamp") or settings.get("metric") in METRICS_OF_VALUES
    resolve(settings, task="regression" if is_regression else "classification")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """The configuration of one training run, with a value in every field; made by `resolve`.

    Attributes:
        engine: `torch` (PyTorch), `numpy` (from scratch), `perceptron` (Rosenblatt's rule; two classes only) or
            `linear` (no hidden layers: logistic or ridge regression, solved).
        recipe: `default` (RealMLP's, strong on tables) or `classic` (BatchNorm, dropout, He, Adam).
        metric: figure that the run is for, which decides loss, label smoothing, activation, `select_by` and the
            decision between classes; None for the recipe's own aim, accuracy with calibrated probabilities, or RMSE.
        quantile: share of values that are to be below the answers, for the metric `quantile`.
        members: number of networks trained side by side from different initial weights; the served answer is the mean
            of their answers (Lakshminarayanan et al. 2017, deep ensembles).
        folds: True if each member learns from all rows of training and validation but its own fold of them, and epoch,
            calibration and validation figures come from the rows that a member did not learn from.
        portfolio: True to train the members by folds once for each configuration of `training.portfolio`, and to serve
            the configurations that the out-of-fold answers choose.
        distill: True to train one more network on the answers of the members, which is served in their place (Hinton et
            al. 2015, Distilling the knowledge in a neural network).
        hidden_sizes: widths of the hidden layers; empty for a perceptron and a linear model.
        activation, dropout, normalization, bias: fields of `MLPConfig`. The default recipe's activation depends on the
            task, as do its learning rate, label smoothing, weight decay, `select_by` and clamp.
        learned_activation: True if each hidden unit learns the share of its activation in its output.
        initialization: `he`, `xavier`, or `data`: unit spread of each unit over a sample of the training part, biases
            at minus a random mean of five rows (RealMLP's he+5).
        parametrization: `standard`, or `ntk`: weights divided by √n_in (Jacot et al. 2018), with RealMLP's factors on
            the learning rates of biases, scales and embeddings.
        scaling: scaling of numbers, `standard` (mean and deviation) or `robust` (median and inter-quartile range).
        clip_inputs: bound of the smooth clip of numbers, in scaled units; None for no clip.
        frequencies: number of frequencies in each number's periodic embedding; 0 for no embedding.
        embedding_size: width of the embedding of each column with more than nine categories; 0 to encode these columns
            one-hot too.
        category_statistics: True to give each category that is embedded the mean of the target over its rows and the
            logarithm of their number beside the learned embedding (`training.engines.target_statistics`).
        scale_inputs: True to learn a scale for each feature.
        optimizer: torch: `adamw` (decoupled weight decay) or `adam` (L2 penalty); numpy: `sgd` with momentum 0.9;
            perceptron: its own rule; linear: a solver.
        learning_rate: highest learning rate of the run.
        beta2: decay rate of Adam's mean of squared gradients.
        weight_decay: weight decay of matrices, and in the NTK parametrisation of all parameters but biases; the default
            recipe's is higher if a class is rare and rows are few. For a linear model, the L2 penalty beside the
            summed loss.
        schedule: schedule of the learning rate: `cosine` (half a wave, down to 0), `coslog4` (four waves, each longer
            than the one before) or `constant`.
        regularization: schedule of dropout and weight decay: `constant`, or `flat_cosine`: constant for half of the
            run, then half a cosine wave down to 0.
        label_smoothing: share of each training label that is spread over all classes by their shares; the default
            recipe's is 0 if one class has 90 % of the rows.
        class_weight: `balanced` to weight rows so that all classes have the same total weight; `none` for no weights.
        drop_categories: share of the cells of categorical columns that training replaces by unknown, so that the
            network learns to answer for new categories; applies only if serving accepts unknown categories.
        clip_norm: upper bound of the gradient's norm over all parameters, in which a parameter or a member with a
            learning rate of its own counts times the factor of that rate; None for no bound.
        batch_size: rows per step; None for a power of two near a 32nd of the training rows, from 16 to 1024.
        drop_last: True to leave out the rows that do not fill a batch, different ones in each epoch; False to learn
            from a small last batch.
        epochs: largest number of passes over the training part, or over `rows_per_epoch` rows of it.
        rows_per_epoch: number of rows that an epoch learns from, other ones in each epoch; None for all rows of the
            training part. An epoch has at least one batch.
        epoch_plan: (epochs done, epochs planned in all) at the begin of the run and at each change of the plan, as a
            budget of time made them; the last plan is `epochs`. Empty if the plan is `epochs` from the begin on.
        patience: number of epochs without a new best after which training stops; None for no early stop.
        select_by: figure of the validation part that is best in the best epoch: `loss`, `error` (misclassified rows, or
            the loss of a regression), `balanced-error` (its mean over the classes, at the decision for balanced
            classes) or `auc`; or `last` for the last epoch, whatever its figures. Of equal losses the first epoch is
            kept, of other equal figures the last. The default recipe's is `loss` if a class is rare: if its share is a
            fifth of an equal share or less.
        calibrate: True to calibrate a classifier's probabilities on the validation part, by one temperature (Guo et
            al. 2017) and by class.
        clamp: True to keep a regression's answers within the range of the training part.
        precision: element type of matrix products in training: `float32`, or `bfloat16`, which is faster on some
            hardware; weights, sums and the served model stay float32.
        seed: seed of the split, the initial weights, the order of rows and dropout.
        split: shares of train, validation and test; None to use the whole table for each (a truth table).

    Raises:
        ConfigError: a value is impossible, or the engine does not have it; the message names it.
    """

    engine: Engine = "torch"
    recipe: Recipe
    metric: Metric | None = None
    quantile: float | None = None
    members: int = 1
    folds: bool = False
    portfolio: bool = False
    distill: bool = False
    hidden_sizes: tuple[int, ...]
    activation: Activation
    learned_activation: bool
    dropout: float
    normalization: Normalization
    initialization: Initializer
    parametrization: Literal["standard", "ntk"]
    bias: bool = True
    scaling: Scaling
    clip_inputs: float | None
    frequencies: int
    embedding_size: int
    category_statistics: bool = False
    scale_inputs: bool
    optimizer: Optimizer
    learning_rate: float
    beta2: float
    weight_decay: float
    schedule: Schedule
    regularization: Regularization
    label_smoothing: float
    class_weight: ClassWeight = "none"
    drop_categories: float
    clip_norm: float | None
    batch_size: int | None
    drop_last: bool
    epochs: int
    rows_per_epoch: int | None = None
    epoch_plan: EpochPlan = ()
    patience: int | None
    select_by: Selection
    calibrate: bool
    clamp: bool
    precision: Precision = "float32"
    seed: int = 0
    split: Shares | None = DEFAULT_SPLIT

    def __post_init__(self) -> None:
        one_of("engine", self.engine, Engine)
        _check_recipe(self.engine, self.recipe)
        if isinstance(self.hidden_sizes, list):
            object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        if not isinstance(self.hidden_sizes, tuple):
            raise ConfigError(f"hidden_sizes must be a sequence of widths, got {self.hidden_sizes!r}.")
        self._check()

    def check_task(self, task: Task) -> None:
        """Checks that each setting belongs to the task, classification or regression.

        Raises:
            ConfigError: label smoothing for a regression, or a clamp for classes.
        """
        if task == "regression" and self.label_smoothing:
            raise ConfigError(f"label_smoothing is for classes, got {self.label_smoothing!r} for a regression.")
        if self.metric is not None and (self.metric in METRICS_OF_VALUES) != (task == "regression"):
            kinds = ("values", "classes") if self.metric in METRICS_OF_VALUES else ("classes", "values")
            raise ConfigError(f"metric {self.metric} is for {kinds[0]}, and the target has {kinds[1]}.")
        if task == "regression" and self.select_by in ("balanced-error", "auc"):
            raise ConfigError(f"select_by={self.select_by} is for classes, and the target has values.")
        if task == "classification" and self.clamp:
            raise ConfigError("clamp keeps a regression's values within their range, and these are classes.")

    def architecture(
        self,
        *,
        in_features: int,
        out_features: int,
        output: Output | None = None,
        inputs: InputConfig | None = None,
    ) -> MLPConfig:
        """Returns the architecture of the network to train.

        Args:
            in_features: width of the encoded rows.
            out_features: number of classes, or 1.
            output: output of the network; None for a classifier's own, softmax or a perceptron's step.
            inputs: input stage before the first Linear; None for no stage.

        Raises:
            ConfigError: the network cannot be built, or a setting belongs to the other task.
        """
        self.check_task("regression" if output in OUTPUTS_OF_VALUES else "classification")
        return self._architecture(in_features, out_features, output, inputs)

    def _architecture(
        self, in_features: int, out_features: int, output: Output | None = None, inputs: InputConfig | None = None
    ) -> MLPConfig:
        """Returns the architecture, with the arguments of `architecture`, for settings of any task."""
        is_step = self.engine == "perceptron" and output is None
        return MLPConfig(
            layer_sizes=(in_features, *self.hidden_sizes, 1 if is_step else out_features),
            activation=self.activation,
            output="step" if is_step else output or "softmax",
            dropout=self.dropout,
            normalization=self.normalization,
            # The initial weights are no part of an architecture; `he` stands for all initialisations but Xavier's.
            initialization="xavier" if self.initialization == "xavier" else "he",
            bias=self.bias,
            inputs=inputs,
            learned_activation=self.learned_activation,
            clamp=self.clamp,
            members=self.trained_members,
        )

    @property
    def output_of_values(self) -> Output:
        """Output of a regression's network: `exponential` for amounts, `logistic` for shares, else `linear`."""
        if self.metric == "bernoulli":
            return "logistic"
        return "exponential" if self.metric in METRICS_OF_LOGARITHMS else "linear"

    @property
    def trained_members(self) -> int:
        """Number of networks to train: the members, for each configuration of a portfolio."""
        return self.members * (len(CONFIGURATIONS) if self.portfolio else 1)

    @property
    def embeds_inputs(self) -> bool:
        """True if the network begins with an input stage."""
        return bool(self.clip_inputs or self.frequencies or self.embedding_size or self.scale_inputs)

    def batch_size_for(self, rows: int) -> int:
        """Returns the number of rows per step for a training part of `rows`."""
        if self.batch_size is not None:
            return min(self.batch_size, rows)
        power_of_two = 1 << max(rows // _BATCHES_PER_EPOCH, 1).bit_length() - 1
        return min(max(power_of_two, _MIN_BATCH), _MAX_BATCH, rows)

    def to_dict(self) -> dict[str, Any]:
        """Returns the settings as plain JSON types."""
        as_json = {
            "hidden_sizes": list(self.hidden_sizes),
            "split": None if self.split is None else list(self.split),
            "epoch_plan": [list(step) for step in self.epoch_plan],
        }
        unused = {field.name for field in fields(self) if field.name in OPTIONAL and self._has_default(field)}
        return {name: value for name, value in (asdict(self) | as_json).items() if name not in unused}

    def _has_default(self, field: Field[Any]) -> bool:
        return bool(getattr(self, field.name) == field.default)

    @classmethod
    def setting_names(cls) -> tuple[str, ...]:
        """Returns the names of the fields, in order."""
        return tuple(field.name for field in fields(cls))

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
            one_of(name, getattr(self, name), literal)
        if self.parametrization not in ("standard", "ntk"):
            raise ConfigError(f"parametrization must be standard or ntk; got {self.parametrization!r}.")
        check_engine_settings(self.engine, {name: getattr(self, name) for name in self.setting_names()})
        positive("learning_rate", self.learning_rate)
        self._check_metric()
        for name in ("clip_norm", "clip_inputs"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))
        share("label_smoothing", self.label_smoothing)
        share("beta2", self.beta2)
        share("drop_categories", self.drop_categories)
        if not (is_number(self.weight_decay) and 0 <= float(self.weight_decay) < math.inf):
            raise ConfigError(f"weight_decay must be 0 or more, got {self.weight_decay!r}.")
        truths = ("learned_activation", "scale_inputs", "drop_last", "calibrate", "clamp", "folds", "portfolio")
        for name in (*truths, "distill", "category_statistics"):
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise ConfigError(f"{name} must be true or false, got {value!r}.")
        for name, least in (("epochs", 1), ("seed", 0), ("members", 1), ("frequencies", 0), ("embedding_size", 0)):
            at_least(name, getattr(self, name), least)
        if self.trained_members > MAX_MEMBERS:
            most = MAX_MEMBERS * self.members // self.trained_members
            by = f" with --portfolio, which trains {len(CONFIGURATIONS)} configurations" if self.portfolio else ""
            raise ConfigError(f"members must be at most {most}{by}, got {self.members!r}.")
        if self.folds and (self.members < 2 or self.split is None):
            raise ConfigError("folds need at least two members and a split: --folds with --members K, such as 8.")
        if self.category_statistics and not self.embedding_size:
            raise ConfigError(
                "category_statistics stand beside embeddings, and embedding_size is 0: give it, such as 8."
            )
        if self.portfolio and not self.folds:
            raise ConfigError("a portfolio is chosen by out-of-fold answers: --portfolio with --folds and --members K.")
        check_distilled(self.distill, members=self.members, folds=self.folds, epoch_plan=self.epoch_plan)
        if self.seed >= 2**63:  # torch takes 64 bits, signed
            raise ConfigError(f"seed must be below 2⁶³, got {self.seed!r}.")
        for name in ("batch_size", "patience", "rows_per_epoch"):
            if getattr(self, name) is not None:
                at_least(name, getattr(self, name), 1)
        if self.select_by == "last" and self.patience is not None:
            raise ConfigError("select_by last keeps the last epoch, so no patience can end the run: --patience none.")
        object.__setattr__(self, "epoch_plan", checked_plan(self.epoch_plan, self.epochs))
        if self.split is not None:
            object.__setattr__(self, "split", check_shares(self.split))
        self._architecture(1, 1 if self.clamp else 2, "linear" if self.clamp else None)  # refuses impossible fields

    def _check_metric(self) -> None:
        if self.metric is not None:
            one_of("metric", self.metric, Metric)
        if (self.metric == "quantile") != (self.quantile is not None):
            raise ConfigError("a quantile and its metric go together: --metric quantile --quantile 0.9.")
        if self.quantile is not None and not (is_number(self.quantile) and 0 < self.quantile < 1):
            raise ConfigError(f"quantile must be between 0 and 1, got {self.quantile!r}.")
        if self.metric in DECIDED_METRICS and not self.bias:
            raise ConfigError(f"metric {self.metric} decides between classes by a bias, and the network has none.")
        if self.metric == "f1" and self.class_weight == "balanced":
            raise ConfigError(
                "metric f1 decides by the shares of the classes, which class_weight balanced makes equal: leave out "
                "--class-weight balanced, or ask for --metric balanced-accuracy."
            )


def _check_recipe(engine: Engine, recipe: Recipe) -> None:
    one_of("recipe", recipe, Recipe)
    if engine != "torch" and recipe != "classic":
        raise ConfigError(f"the {engine} engine has no recipe {recipe!r}: it has its own, the classic.")
