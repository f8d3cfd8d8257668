"""A network as a sequence of layers in any order, for models that were made elsewhere.

`MLPConfig` describes the networks that Axon trains: equal blocks of `Linear → normalisation → activation`. A foreign
network may have another activation in each layer, a normalisation first or last, or a slope of its own. Each layer
keeps its name, so the tensors of a checkpoint have the names that they had in the foreign model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

from models.errors import ConfigError
from models.finite_number import is_finite_number
from models.network.config import (
    LEAST_ANSWERS,
    MAX_FEATURES,
    MAX_LAYERS,
    MAX_PARAMETERS,
    MOST_ANSWERS,
    NORMALIZATION_EPS,
    OUTPUTS_OF_VALUES,
    LayerActivation,
    LayerSpec,
    NetworkOutput,
    Task,
)
from models.network.inputs import InputConfig
from models.network.layer_activations import TYPES, constants_of

SequenceKind = Literal["linear", "batch_norm", "layer_norm", "activation", "prelu", "dropout"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}", re.ASCII)
_OUTPUTS: tuple[NetworkOutput, ...] = ("softmax", "linear", "exponential", "sigmoid", "argmax")


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceLayer:
    """One layer of a sequence.

    Attributes:
        name: prefix of the layer's tensor names, such as `0` or `hidden.fc1`.
        kind: role of the layer; `prelu` is a ReLU with a learned slope.
        out_features: width of the output of a Linear; None for other kinds, which keep the width.
        bias: True if a Linear or a LayerNorm adds a learned bias.
        affine: True if a normalisation has learned factors.
        eps: number that a normalisation adds to the variance.
        activation: function of an activation.
        constants: constants of the activation, in the order of `models.network.layer_activations.CONSTANTS`.
        shared: True if a PReLU has one slope for all units.
        probability: probability with which dropout drops a unit in training; answers do not depend on the number.

    Raises:
        ConfigError: A field has a value that cannot be built; the message names the layer.
    """

    name: str
    kind: SequenceKind
    out_features: int | None = None
    bias: bool = True
    affine: bool = True
    eps: float = NORMALIZATION_EPS
    activation: LayerActivation | None = None
    constants: tuple[float, ...] = ()
    shared: bool = False
    probability: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ConfigError(f"a layer's name must be letters, digits, '_', '.' and '-', got {self.name!r:.200}.")
        if self.kind not in get_args(SequenceKind):
            raise ConfigError(self._text(f"kind must be one of {', '.join(get_args(SequenceKind))}", self.kind))
        for field in ("bias", "affine", "shared"):
            if not isinstance(getattr(self, field), bool):
                raise ConfigError(self._text(f"{field} must be true or false", getattr(self, field)))
        width = self.out_features
        if (self.kind == "linear") != (width is not None):
            raise ConfigError(self._text("out_features is for a Linear, which needs it", width))
        if width is not None and (type(width) is not int or not 1 <= width <= MAX_FEATURES):
            raise ConfigError(self._text(f"out_features must be a whole number from 1 to {MAX_FEATURES}", width))
        if not is_finite_number(self.eps) or not 0 < self.eps < 1:
            raise ConfigError(self._text("eps must be above 0 and below 1", self.eps))
        if not is_finite_number(self.probability) or not 0 <= self.probability <= 1:
            raise ConfigError(self._text("probability must be from 0 to 1", self.probability))
        object.__setattr__(self, "eps", float(self.eps))
        object.__setattr__(self, "probability", float(self.probability))
        self._check_activation()

    def _check_activation(self) -> None:
        if (self.kind == "activation") != (self.activation is not None):
            raise ConfigError(self._text("activation is for a layer of kind activation, which needs it", self.kind))
        if not isinstance(self.constants, list | tuple) or not all(map(is_finite_number, self.constants)):
            raise ConfigError(self._text("constants must be numbers", self.constants))
        object.__setattr__(self, "constants", tuple(map(float, self.constants)))
        if self.activation is None:
            if self.constants:
                raise ConfigError(self._text("constants are for an activation", self.constants))
            return
        if not isinstance(self.activation, str) or self.activation not in TYPES:
            raise ConfigError(self._text(f"activation must be one of {', '.join(TYPES)}", self.activation))
        constants_of(self.activation, self.constants)

    def _text(self, rule: str, value: object) -> str:
        return f"layer {self.name!r}: {rule}, got {value!r:.200}."

    def spec(self, width: int) -> LayerSpec:
        """Describes the layer for an input of a width."""
        out = width if self.out_features is None else self.out_features
        parameters: dict[str, tuple[int, ...]] = {}
        buffers: dict[str, tuple[int, ...]] = {}
        match self.kind:
            case "linear":
                parameters = {"weight": (out, width)}
                if self.bias:
                    parameters["bias"] = (out,)
                return LayerSpec(self.name, "linear", "Linear", width, out, parameters, {})
            case "batch_norm":
                parameters = {"weight": (out,), "bias": (out,)} if self.affine else {}
                buffers = {"running_mean": (out,), "running_var": (out,)}
                return LayerSpec(self.name, "batch_norm", "BatchNorm1d", width, out, parameters, buffers, eps=self.eps)
            case "layer_norm":
                if self.affine:
                    parameters = {"weight": (out,)}
                    if self.bias:
                        parameters["bias"] = (out,)
                return LayerSpec(self.name, "layer_norm", "LayerNorm", width, out, parameters, {}, eps=self.eps)
            case "prelu":
                parameters = {"weight": (1,) if self.shared else (out,)}
                return LayerSpec(self.name, "activation", "PReLU", width, out, parameters, {}, activation="relu")
            case "dropout":
                return LayerSpec(self.name, "dropout", "Dropout", width, out, {}, {})
            case "activation":
                function = cast(LayerActivation, self.activation)
                return LayerSpec(
                    self.name,
                    "activation",
                    TYPES[function],
                    width,
                    out,
                    {},
                    {},
                    activation=function,
                    constants=self.constants,
                )

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields that differ from their defaults as plain JSON types, for `from_dict`."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        kept = {name: value for name, value in plain.items() if value != defaults[name]}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in kept.items()}

    @classmethod
    def from_dict(cls, raw: object) -> SequenceLayer:
        """Builds a layer from the result of `to_dict`.

        Raises:
            ConfigError: A field is unknown or missing, or has a value that cannot be built.
        """
        known = {field.name for field in fields(cls)}
        if not isinstance(raw, Mapping) or not {"name", "kind"} <= raw.keys():
            raise ConfigError("a layer must be an object with name and kind.")
        if unknown := sorted(set(raw) - known):
            raise ConfigError(f"layer {raw['name']!r:.200}: unknown field {unknown[0]!r:.200}.")
        return cls(**cast(dict[str, Any], raw))


@dataclass(frozen=True, kw_only=True, slots=True)
class SequenceConfig:
    """The architecture of a network with its layers one by one.

    The properties are those of `MLPConfig`, so that all code that serves a network takes either.

    Attributes:
        in_features: width of the input matrix.
        sequence: layers in the order of the forward pass; one of them, at least, is a Linear.
        output: function after the last layer: `softmax`, `linear` (none), `sigmoid` (one unit; probabilities 1 - σ(z)
            and σ(z) of two classes) or `argmax` (the class of the largest output, the first of equal ones).

    Raises:
        ConfigError: A field has a value that cannot be built; the message names the field or the layer.
    """

    in_features: int
    sequence: tuple[SequenceLayer, ...]
    output: NetworkOutput = "softmax"

    def __post_init__(self) -> None:
        if type(self.in_features) is not int or not 1 <= self.in_features <= MAX_FEATURES:
            raise ConfigError(f"in_features must be a whole number from 1 to {MAX_FEATURES}, got {self.in_features!r}.")
        sequence: Sequence[object] = self.sequence
        if not isinstance(sequence, list | tuple) or not all(isinstance(layer, SequenceLayer) for layer in sequence):
            raise ConfigError("sequence must be a list of layers.")
        object.__setattr__(self, "sequence", tuple(sequence))
        if not 1 <= len(sequence) <= MAX_LAYERS or not any(layer.kind == "linear" for layer in self.sequence):
            raise ConfigError(f"sequence needs 1 to {MAX_LAYERS} layers, and a Linear among them.")
        names = [layer.name for layer in self.sequence]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"two layers have the name {twice!r}.")
        if self.output not in _OUTPUTS:
            raise ConfigError(f"output must be one of {', '.join(_OUTPUTS)}; got {self.output!r:.200}.")
        if self.output in ("softmax", "argmax") and self.out_features < 2:
            raise ConfigError(f"a {self.output} output needs at least 2 units, got {self.out_features}.")
        if self.output == "sigmoid" and self.out_features != 1:
            raise ConfigError(f"a sigmoid output is one unit, got {self.out_features}.")
        if self.parameter_count > MAX_PARAMETERS:
            raise ConfigError(f"{self.parameter_count:,} parameters is over the limit of {MAX_PARAMETERS:,}.")

    @property
    def out_features(self) -> int:
        """Width of the last layer's output."""
        return next(
            (layer.out_features for layer in reversed(self.sequence) if layer.out_features is not None),
            self.in_features,
        )

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from the input to the output of the last Linear."""
        return (self.in_features, *(layer.out_features for layer in self.sequence if layer.out_features is not None))

    @property
    def task(self) -> Task:
        """Task of the network: `classification` or `regression`."""
        return "regression" if self.output in OUTPUTS_OF_VALUES else "classification"

    @property
    def n_classes(self) -> int | None:
        """Number of classes; 2 for a sigmoid unit, None for regression."""
        if self.output in OUTPUTS_OF_VALUES:
            return None
        return 2 if self.output == "sigmoid" else self.out_features

    @property
    def least_answer(self) -> float | None:
        """Lower bound of the true values, None for classes and values without a bound."""
        return LEAST_ANSWERS.get(self.output)

    @property
    def most_answer(self) -> float | None:
        """Upper bound of the true values, None for classes and values without a bound."""
        return MOST_ANSWERS.get(self.output)

    @property
    def has_probabilities(self) -> bool:
        """True if the answers are probabilities of classes."""
        return self.output in ("softmax", "sigmoid")

    @property
    def parameter_count(self) -> int:
        """Number of learned parameters."""
        return sum(layer.parameter_count for layer in self.layers())

    @property
    def inputs(self) -> InputConfig | None:
        """None: a sequence has no input stage."""
        return None

    @property
    def members(self) -> int:
        """1: a sequence is one network."""
        return 1

    @property
    def member_weights(self) -> None:
        """None: a sequence is one network."""
        return None

    @property
    def temperature(self) -> float:
        """1: a sequence has no temperature."""
        return 1.0

    @property
    def clamp(self) -> bool:
        """False: a sequence bounds no values."""
        return False

    def layers(self) -> Iterator[LayerSpec]:
        """Returns the layers from the input to the output."""
        width = self.in_features
        for layer in self.sequence:
            spec = layer.spec(width)
            width = spec.out_features
            yield spec

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of each tensor of a checkpoint with this architecture, by name, buffers included."""
        return {
            f"{layer.name}.{name}": shape
            for layer in self.layers()
            for name, shape in (*layer.parameters.items(), *layer.buffers.items())
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns the config as plain JSON types, for `from_dict`."""
        return {
            "kind": "sequence",
            "in_features": self.in_features,
            "sequence": [layer.to_dict() for layer in self.sequence],
            "output": self.output,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> SequenceConfig:
        """Builds a config from the result of `to_dict`.

        Raises:
            ConfigError: A field is unknown or missing, or has a value that cannot be built.
        """
        known = {"kind", *(field.name for field in fields(cls))}
        if unknown := sorted(set(raw) - known):
            raise ConfigError(f"unknown architecture field {unknown[0]!r:.200}; known: {', '.join(sorted(known))}.")
        if missing := sorted({"in_features", "sequence"} - raw.keys()):
            raise ConfigError(f"a sequence needs {missing[0]}.")
        given = raw["sequence"]
        if not isinstance(given, list | tuple) or len(given) > MAX_LAYERS:
            raise ConfigError(f"sequence must be a list of 1 to {MAX_LAYERS} layers.")
        layers = tuple(SequenceLayer.from_dict(layer) for layer in given)
        return cls(in_features=raw["in_features"], sequence=layers, output=raw.get("output", "softmax"))
