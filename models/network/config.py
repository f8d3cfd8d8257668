"""An MLP's architecture as data: layers, number of parameters, shapes of tensors.

One hidden block is `Linear → normalisation → activation → dropout`. Only a Linear follows the last block. The
output is `softmax` (one logit per class), `linear` (a value), `exponential` (a value above 0, whose logarithm is the
last Linear's output), `logistic` (a probability or share, the sigmoid of the last Linear's output) or `step`
(Rosenblatt's threshold unit). An optional input stage before the first Linear is described by `models.network.inputs`.
Several members of one architecture form an ensemble. All code that needs the layers (the PyTorch module, training's
network, the fused network, the summary, the checkpoint's shape check) reads `MLPConfig.layers()`, so that no two parts
can disagree.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Protocol, get_args

from models.errors import ConfigError
from models.network.inputs import InputConfig

Activation = Literal["relu", "leaky_relu", "gelu", "silu", "selu", "mish", "tanh", "sigmoid", "identity"]
# Every activation that a layer can have. Training offers the ones of `Activation`; the others come with foreign models.
LayerActivation = Literal[
    Activation,
    "elu",
    "celu",
    "softplus",
    "hardtanh",
    "hardswish",
    "hardsigmoid",
    "softsign",
    "logsigmoid",
    "gelu_tanh",
]
Normalization = Literal["none", "batch", "layer"]
Initialization = Literal["he", "xavier"]
Output = Literal["softmax", "linear", "exponential", "logistic", "step"]
# Every function after a network's last layer. `sigmoid` (one unit, two classes) and `argmax` (the class of the largest
# output, without probabilities) come with foreign models.
NetworkOutput = Literal[Output, "sigmoid", "argmax"]
LayerKind = Literal["inputs", "linear", "batch_norm", "layer_norm", "activation", "dropout"]
Task = Literal["classification", "regression"]
OUTPUTS_OF_VALUES: tuple[NetworkOutput, ...] = ("linear", "exponential", "logistic")
# Bounds of the true values, by output; no bounds for other outputs.
LEAST_ANSWERS: Mapping[NetworkOutput, float] = {"exponential": 0.0, "logistic": 0.0}
MOST_ANSWERS: Mapping[NetworkOutput, float] = {"logistic": 1.0}

# Bounds on a config: without them, a hostile or mistyped header could ask for terabytes.
MAX_LAYERS = 1_000
MAX_FEATURES = 10_000_000
MAX_PARAMETERS = 10_000_000_000
MAX_MEMBERS = 1_000
MAX_MEMBER_WEIGHT = 1_000

NORMALIZATION_EPS = 1e-5  # torch's default for BatchNorm1d and LayerNorm
LEAKY_RELU_SLOPE = 0.01  # torch's default for LeakyReLU

ACTIVATION_TYPES: dict[Activation, str] = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "gelu": "GELU",
    "silu": "SiLU",
    "selu": "SELU",
    "mish": "Mish",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "identity": "Identity",
}
_NORMALIZATION_TYPES: dict[Normalization, tuple[LayerKind, str]] = {
    "batch": ("batch_norm", "BatchNorm1d"),
    "layer": ("layer_norm", "LayerNorm"),
}


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer of an MLP.

    Attributes:
        name: prefix of the layer's tensor names, such as `layers.0`.
        kind: role in the network; `inputs` for each part of the input stage.
        type: name for people, such as `BatchNorm1d` or `ReLU`.
        in_features: width of the layer's input.
        out_features: width of the layer's output.
        parameters: shape of each learned tensor of one member, by name.
        buffers: shape of each tensor of one member that is kept but not learned, by name.
        members: number of networks in the ensemble; the counts below are for all of them.
        activation: function of a layer of kind `activation`; None for other kinds.
        constants: constants of the activation (`models.network.layer_activations`); empty for torch's defaults.
        eps: number that a normalisation adds to the variance.
    """

    name: str
    kind: LayerKind
    type: str
    in_features: int
    out_features: int
    parameters: Mapping[str, tuple[int, ...]]
    buffers: Mapping[str, tuple[int, ...]]
    members: int = 1
    activation: LayerActivation | None = None
    constants: tuple[float, ...] = ()
    eps: float = NORMALIZATION_EPS

    @property
    def parameter_count(self) -> int:
        """Number of learned values in this layer."""
        return self.members * sum(_size(shape) for shape in self.parameters.values())

    @property
    def buffer_count(self) -> int:
        """Number of values that are kept but not learned (BatchNorm's running statistics)."""
        return self.members * sum(_size(shape) for shape in self.buffers.values())

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the matrix products for one row; elementwise operations count as 0."""
        if self.kind == "linear":
            return self.members * self.in_features * self.out_features
        return self.members * _size(self.parameters["weight"]) if self.type == "PeriodicEmbedding" else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class MLPConfig:
    """The architecture of a multi-layer perceptron.

    Attributes:
        layer_sizes: widths from input to output, `(in_features, *hidden_sizes, out_features)`.
        activation: nonlinearity of each hidden layer.
        output: `softmax` for classification, `linear` for regression, `exponential` for a regression of counts,
            durations and amounts (the answer is e to the network's output), `logistic` for one of labels and shares
            (the answer is the sigmoid of the network's output), `step` for a threshold unit (one output; predicts
            class 1 where z ≥ 0).
        dropout: probability with which a hidden unit is dropped in training, in [0, 1).
        normalization: `none`, `batch` (BatchNorm1d) or `layer` (LayerNorm), before each activation.
        initialization: `he` (variance 2/fan_in) or `xavier` (variance 2/(fan_in + fan_out)).
        bias: True to give the Linear layers a bias.
        inputs: input stage before the first Linear; None for no input stage.
        learned_activation: True to mix the activation f of each hidden unit with the identity, x + a·(f(x) - x), where
            each unit learns its own a (RealMLP's parametric activation, Holzmüller et al. 2024).
        clamp: True to keep a regression's answers within the range of target values in the training part.
        temperature: divisor of the logits before the softmax (Guo et al. 2017, On calibration).
        members: number of networks in the ensemble; the answer is the mean of the members' answers.
        member_weights: whole numbers with the weight of each member in that mean; None for equal weights.

    Raises:
        ConfigError: A field has a value that cannot be built; the message names the field.
    """

    layer_sizes: tuple[int, ...]
    activation: Activation = "relu"
    output: Output = "softmax"
    dropout: float = 0.0
    normalization: Normalization = "none"
    initialization: Initialization = "he"
    bias: bool = True
    inputs: InputConfig | None = None
    learned_activation: bool = False
    clamp: bool = False
    temperature: float = 1.0
    members: int = 1
    member_weights: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        sizes = self.layer_sizes
        if isinstance(sizes, str) or not hasattr(sizes, "__iter__"):
            raise ConfigError(f"layer_sizes must be a sequence of widths, got {sizes!r}.")
        sizes = tuple(sizes)
        object.__setattr__(self, "layer_sizes", sizes)
        if not 2 <= len(sizes) <= MAX_LAYERS:
            raise ConfigError(f"layer_sizes needs 2 to {MAX_LAYERS} widths, from input to output, got {sizes!r}.")
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_FEATURES:
                raise ConfigError(
                    f"layer_sizes must be whole numbers from 1 to {MAX_FEATURES}, got {size!r} in {sizes!r}."
                )
        _one_of("activation", self.activation, get_args(Activation))
        _one_of("output", self.output, get_args(Output))
        _one_of("normalization", self.normalization, get_args(Normalization))
        _one_of("initialization", self.initialization, get_args(Initialization))
        if isinstance(self.dropout, bool) or not isinstance(self.dropout, int | float) or not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout must be a probability in [0, 1), got {self.dropout!r}.")
        object.__setattr__(self, "dropout", float(self.dropout))
        for name in ("bias", "learned_activation", "clamp"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, got {getattr(self, name)!r}.")
        self._check_rest()
        if self.output == "softmax" and sizes[-1] < 2:
            raise ConfigError(f"a softmax output needs at least 2 classes, got layer_sizes {sizes!r}.")
        if self.output == "step" and sizes[-1] != 1:
            raise ConfigError(f"a step output is one unit, got layer_sizes {sizes!r}.")
        if self.parameter_count > MAX_PARAMETERS:
            raise ConfigError(f"{self.parameter_count:,} parameters is over the limit of {MAX_PARAMETERS:,}.")

    def _check_rest(self) -> None:
        temperature = self.temperature
        if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 1e-6 < temperature < 1e6:
            raise ConfigError(f"temperature must be positive, got {temperature!r}.")
        object.__setattr__(self, "temperature", float(temperature))
        if temperature != 1 and self.output != "softmax":
            raise ConfigError(f"temperature is a softmax's, and the output is {self.output}.")
        if self.clamp and self.output not in OUTPUTS_OF_VALUES:
            raise ConfigError(f"clamp is for a regression's values, and the output is {self.output}.")
        if isinstance(self.members, bool) or not isinstance(self.members, int) or not 1 <= self.members <= MAX_MEMBERS:
            raise ConfigError(f"members must be a whole number from 1 to {MAX_MEMBERS}, got {self.members!r}.")
        if self.member_weights is not None:
            self._check_member_weights(self.member_weights)
        if self.inputs is not None and not isinstance(self.inputs, InputConfig):
            raise ConfigError(f"inputs must be an InputConfig, got {self.inputs!r:.200}.")
        if self.inputs is not None and self.inputs.row_width != self.layer_sizes[0]:
            raise ConfigError(
                f"inputs are of rows of {self.inputs.row_width} features, and layer_sizes begins with "
                f"{self.layer_sizes[0]}."
            )

    def _check_member_weights(self, weights: object) -> None:
        are_whole = isinstance(weights, list | tuple) and all(
            type(weight) is int and 1 <= weight <= MAX_MEMBER_WEIGHT for weight in weights
        )
        if not isinstance(weights, list | tuple) or not are_whole or len(weights) != self.members:
            raise ConfigError(
                f"member_weights must be a whole number from 1 to {MAX_MEMBER_WEIGHT} for each of {self.members} "
                f"members, got {weights!r:.200}."
            )
        object.__setattr__(self, "member_weights", tuple(weights))

    @property
    def in_features(self) -> int:
        """Width of the input matrix."""
        return self.layer_sizes[0]

    @property
    def linear_sizes(self) -> tuple[int, ...]:
        """Widths from the first Linear's input to the output.

        The first Linear reads the output of the input stage, or a row if there is no input stage.
        """
        return self.layer_sizes if self.inputs is None else (self.inputs.width, *self.layer_sizes[1:])

    @property
    def hidden_sizes(self) -> tuple[int, ...]:
        """Widths of the hidden layers."""
        return self.layer_sizes[1:-1]

    @property
    def out_features(self) -> int:
        """Width of the last Linear's output."""
        return self.layer_sizes[-1]

    @property
    def task(self) -> Task:
        """Task of the network: `classification` or `regression`."""
        return "regression" if self.output in OUTPUTS_OF_VALUES else "classification"

    @property
    def has_probabilities(self) -> bool:
        """True if the answers are probabilities of classes."""
        return self.output == "softmax"

    @property
    def least_answer(self) -> float | None:
        """Lower bound of the true values, None for classes and values without a bound."""
        return LEAST_ANSWERS.get(self.output)

    @property
    def most_answer(self) -> float | None:
        """Upper bound of the true values, None for classes and values without a bound."""
        return MOST_ANSWERS.get(self.output)

    @property
    def n_classes(self) -> int | None:
        """Number of classes; 2 for a step unit, None for regression."""
        if self.output in OUTPUTS_OF_VALUES:
            return None
        return 2 if self.output == "step" else self.out_features

    @property
    def parameter_count(self) -> int:
        """Number of learned parameters, in closed form.

        Each member has Σ (n_in + bias)·n_out in the Linear layers, 2 for each hidden unit with normalisation, 1 for
        each with a learned activation, and the parameters of the input stage.
        """
        linear = sum((n_in + self.bias) * n_out for n_in, n_out in itertools.pairwise(self.linear_sizes))
        per_unit = 2 * (self.normalization != "none") + self.learned_activation
        inputs = 0
        if self.inputs is not None:
            shapes = (shape for *_, parameters in self.inputs.parts() for shape in parameters.values())
            inputs = sum(map(_size, shapes))
        return self.members * (linear + per_unit * sum(self.hidden_sizes) + inputs)

    def layers(self) -> Iterator[LayerSpec]:
        """Returns the layers from the input to the output."""
        return (replace(layer, members=self.members) for layer in self._member_layers())

    def _member_layers(self) -> Iterator[LayerSpec]:
        if self.inputs is not None:
            for name, type_, n_in, n_out, shapes in self.inputs.parts():
                yield LayerSpec(name, "inputs", type_, n_in, n_out, shapes, {})
        last = len(self.layer_sizes) - 2
        for i, (n_in, n_out) in enumerate(itertools.pairwise(self.linear_sizes)):
            parameters: dict[str, tuple[int, ...]] = {"weight": (n_out, n_in)}
            if self.bias:
                parameters["bias"] = (n_out,)
            yield LayerSpec(f"layers.{i}", "linear", "Linear", n_in, n_out, parameters, {})
            if i == last:
                return
            if self.normalization != "none":
                affine: dict[str, tuple[int, ...]] = {"weight": (n_out,), "bias": (n_out,)}
                running: dict[str, tuple[int, ...]] = {"running_mean": (n_out,), "running_var": (n_out,)}
                buffers = running if self.normalization == "batch" else {}
                kind, type_ = _NORMALIZATION_TYPES[self.normalization]
                yield LayerSpec(f"norms.{i}", kind, type_, n_out, n_out, affine, buffers)
            mix: dict[str, tuple[int, ...]] = {"mix": (n_out,)} if self.learned_activation else {}
            type_ = ACTIVATION_TYPES[self.activation]
            yield LayerSpec(f"activations.{i}", "activation", type_, n_out, n_out, mix, {}, activation=self.activation)
            if self.dropout > 0:
                yield LayerSpec(f"dropouts.{i}", "dropout", "Dropout", n_out, n_out, {}, {})

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor of a checkpoint with this architecture, by name, buffers included.

        In an ensemble, the first dimension of each tensor is the member.
        """
        stacked = (self.members,) if self.members > 1 else ()
        return {
            f"{layer.name}.{name}": (*stacked, *shape)
            for layer in self.layers()
            for name, shape in (*layer.parameters.items(), *layer.buffers.items())
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON types, for `from_dict`."""
        inputs = None if self.inputs is None else self.inputs.to_dict()
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # `asdict` copies 10,000 positions
        values |= {"layer_sizes": list(self.layer_sizes), "inputs": inputs}
        # A file has them only if members differ, so that the files of all other models keep their bytes.
        weights = values.pop("member_weights")
        return values if weights is None else values | {"member_weights": list(weights)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> MLPConfig:
        """Builds a config from the result of `to_dict`.

        Raises:
            ConfigError: A field is unknown or missing, or has a value that cannot be built.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(raw) - known):
            raise ConfigError(f"unknown architecture field {unknown[0]!r}; known: {', '.join(sorted(known))}.")
        if "layer_sizes" not in raw:
            raise ConfigError("an architecture needs layer_sizes.")
        inputs = raw.get("inputs")
        values: dict[str, Any] = {**raw, "inputs": None if inputs is None else InputConfig.from_dict(inputs)}
        return cls(**values)


class _HasTensors(Protocol):
    def tensor_shapes(self) -> Mapping[str, tuple[int, ...]]: ...


def check_tensors(config: _HasTensors, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Checks tensors against the names and shapes of an architecture, which have to match exactly.

    Args:
        config: architecture of the network.
        shapes: shape of each tensor, by name.

    Raises:
        ConfigError: A tensor is missing, unexpected or of another shape; the message names the tensor.
    """
    expected = config.tensor_shapes()
    for name, shape in expected.items():
        if name not in shapes:
            raise ConfigError(f"tensor {name!r} of shape {shape} is missing.")
        if tuple(shapes[name]) != shape:
            raise ConfigError(f"tensor {name!r} has shape {tuple(shapes[name])}, but the architecture needs {shape}.")
    if unexpected := sorted(set(shapes) - set(expected)):
        raise ConfigError(f"tensor {unexpected[0]!r} does not belong to the architecture.")


def _one_of(field: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{field} must be one of {', '.join(allowed)}; got {value!r}.")


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
