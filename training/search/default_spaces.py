"""The default search spaces, one for each recipe, for searches whose user names no space."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from models.errors import ConfigError
from models.network.config import Task
from training.config import TrainConfig
from training.recipes import values_by_metric
from training.search.space import Choices, FloatRange, Parameter, SearchSpace

# The usual search space of a plain network (Gorishniy et al. 2021, Revisiting deep learning models for tabular data),
# without the networks that take longer than minutes to train.
_CLASSIC: Mapping[str, Parameter] = {
    "hidden_sizes": Choices(values=((64, 64), (128,), (128, 128), (256, 256), (128, 128, 128), (256, 256, 256))),
    "activation": Choices(values=("relu", "gelu", "silu", "tanh")),
    "dropout": FloatRange(low=0.0, high=0.5),
    "normalization": Choices(values=("none", "batch", "layer")),
    "learning_rate": FloatRange(low=1e-4, high=3e-2, log=True),
    "weight_decay": Choices(values=(0.0, 1e-5, 1e-4, 1e-3, 1e-2)),
    "batch_size": Choices(values=(None, 32, 128, 512)),
}

# Values near the defaults, which were tuned over many tables (Holzmüller et al. 2024, Better by default).
_DEFAULT: Mapping[str, Parameter] = {
    "hidden_sizes": Choices(values=((256, 256, 256), (64, 64, 64), (512, 512, 512), (256, 256), (512,))),
    "activation": Choices(values=("selu", "mish", "relu")),
    "dropout": FloatRange(low=0.0, high=0.4),
    "learning_rate": FloatRange(low=5e-3, high=0.5, log=True),
    "weight_decay": FloatRange(low=0.0, high=0.2),
    "frequencies": Choices(values=(16, 0)),
    "scale_inputs": Choices(values=(True, False)),
    "label_smoothing": Choices(values=(0.0, 0.1)),
    "batch_size": Choices(values=(256, 128, 512)),
}
_FOR_CLASSES_ONLY = ("label_smoothing",)

_NUMPY: Mapping[str, Parameter] = {
    "hidden_sizes": _CLASSIC["hidden_sizes"],
    "activation": Choices(values=("relu", "tanh", "sigmoid")),
    "learning_rate": FloatRange(low=1e-3, high=0.5, log=True),
    "batch_size": _CLASSIC["batch_size"],
}


def default_space(config: TrainConfig, *, task: Task, fixed: Collection[str] = ()) -> SearchSpace:
    """Returns the search space of a configuration's recipe; each choice contains the configuration's own value.

    Args:
        config: settings of the first trial.
        task: task of the table.
        fixed: names of the settings that the user gave, and that therefore do not vary.

    Raises:
        ConfigError: no setting is left to vary.
    """
    if config.engine == "linear":
        return SearchSpace(parameters={"weight_decay": FloatRange(low=1e-3, high=1e3, log=True)})
    if config.engine == "perceptron":
        raise ConfigError("a perceptron has nothing to search: its rule has no settings that matter.")
    own = _NUMPY if config.engine == "numpy" else _DEFAULT if config.recipe == "default" else _CLASSIC
    # What the metric decides is its own, such as no label smoothing for honest probabilities: it does not vary.
    decided = values_by_metric(config.recipe, config.metric)
    left_out = {*fixed, *decided, *(_FOR_CLASSES_ONLY if task == "regression" else ())}
    return SearchSpace(
        parameters={
            name: _with(parameter, getattr(config, name)) for name, parameter in own.items() if name not in left_out
        }
    )


def _with(parameter: Parameter, value: object) -> Parameter:
    """Returns a choice with the configuration's own value added as the first one if missing; a range unchanged."""
    if not isinstance(parameter, Choices) or parameter.nearest(value) == value:
        return parameter
    return Choices(values=(value, *parameter.values))
