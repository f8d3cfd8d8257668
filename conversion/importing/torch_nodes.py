"""Modules and functions of torch as layers of a sequence, with float64 tensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from conversion.importing.imported_model import Float64Array, ImportRefused
from models.network.config import LayerActivation
from models.network.sequence import SequenceKind

# A BatchNorm with this eps and a running variance of 1 is `scale·x + shift` to 16 digits.
_NO_EPS = 1e-16
_LEAST_DIFFERENCE = 1e-7  # below the rounding of float32


@dataclass(frozen=True, kw_only=True)
class Node:
    """One step of a module's computation.

    Attributes:
        name: name of the module, or of the step in the trace.
        kind: kind of the layer; `softmax`, `log_softmax` and `nothing` are no layers.
        fields: fields of the `SequenceLayer`, without name and kind.
        tensors: float64 tensors of the layer, by name without the layer's own.
    """

    name: str
    kind: SequenceKind | str
    fields: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Float64Array] = field(default_factory=dict)


def module_node(name: str, module: nn.Module) -> Node:
    """Returns the step of a module without children that counts.

    Args:
        name: path of the module.
        module: module in evaluation, with float64 tensors.

    Raises:
        ImportRefused: The module is not one of an MLP.
    """
    for kind, make in _MODULES.items():
        # A subclass with a forward pass of its own is another module; a parametrised one keeps the forward pass.
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return make(name, module)
    raise ImportRefused(
        f"layer {name!r} is of type {type(module).__name__}, which is not a layer of an MLP: Axon takes "
        f"{', '.join(sorted(kind.__name__ for kind in _MODULES))}."
    )


def is_layer(module: nn.Module) -> bool:
    """Returns True if a trace should not look into a module: a layer of torch's own, also of an unknown kind."""
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return False
    own = type(module).__module__.startswith("torch.nn.")
    return own or any(isinstance(module, kind) and type(module).forward is kind.forward for kind in _MODULES)


def function_node(name: str, function: Any, arguments: Mapping[str, Any]) -> Node:
    """Returns the step of a function or a method.

    Args:
        name: name of the step in the trace.
        function: function of torch, or name of a method of a tensor.
        arguments: arguments after the input, by name; positional ones have the names `0`, `1`, ….

    Raises:
        ImportRefused: The function is not one of an MLP.
    """
    key = function if isinstance(function, str) else getattr(function, "__name__", repr(function))
    key = key.removesuffix("_") if key not in _FUNCTIONS else key  # relu_ is relu
    if key not in _FUNCTIONS:
        raise ImportRefused(
            f"step {name!r} of the forward pass is the function {key}, which is not a layer of an MLP: Axon takes a "
            f"chain of layers and of {', '.join(sorted(_FUNCTIONS))}."
        )
    return _FUNCTIONS[key](name, arguments)


def affine_node(name: str, scale: Any, shift: Any, width: int) -> Node:
    """Returns the step `scale·x + shift`, as a BatchNorm of a mean of 0 and a variance of 1.

    Args:
        name: name of the step.
        scale: number or tensor, `(width,)`.
        shift: number or tensor, `(width,)`.
        width: width of the input.

    Raises:
        ImportRefused: The tensors do not have one number for each unit.
    """

    def spread(value: Any) -> Float64Array:
        tensor = torch.as_tensor(value, dtype=torch.float64).detach().cpu()
        if tensor.ndim > 2 or (tensor.ndim == 2 and len(tensor) != 1) or tensor.numel() not in (1, width):
            raise ImportRefused(
                f"step {name!r} of the forward pass computes with a tensor of shape {tuple(tensor.shape)}, which is "
                f"not one number for each of {width} units."
            )
        return tensor.reshape(-1).expand(width).numpy().copy()

    ones = torch.ones(width, dtype=torch.float64).numpy()
    tensors = {"weight": spread(scale), "bias": spread(shift), "running_mean": 0 * ones, "running_var": ones}
    return Node(name=name, kind="batch_norm", fields={"eps": _NO_EPS}, tensors=tensors)


def linear_node(name: str, weight: Any, bias: Any) -> Node:
    """Returns the step `x·weightᵀ + bias`.

    Args:
        name: name of the layer.
        weight: tensor `(out, in)`.
        bias: tensor `(out,)`, or None.
    """
    tensors = {"weight": array(weight)} | ({} if bias is None else {"bias": array(bias)})
    fields = {"out_features": int(weight.shape[0]), "bias": bias is not None}
    return Node(name=name, kind="linear", fields=fields, tensors=tensors)


def array(tensor: torch.Tensor) -> Float64Array:
    """Returns a tensor as a float64 array."""
    return tensor.detach().to("cpu", torch.float64).numpy().copy()


def _linear(name: str, module: Any) -> Node:
    return linear_node(name, module.weight, module.bias)


def _batch_norm(name: str, module: Any) -> Node:
    if module.running_mean is None or module.running_var is None:
        raise ImportRefused(
            f"layer {name!r} is a BatchNorm without running statistics, whose answer to a row depends on the other "
            "rows: train it with track_running_stats=True."
        )
    affine = module.weight is not None
    tensors = {"running_mean": array(module.running_mean), "running_var": array(module.running_var)}
    if affine:
        tensors |= {"weight": array(module.weight), "bias": array(module.bias)}
    return Node(name=name, kind="batch_norm", fields={"affine": affine, "eps": module.eps}, tensors=tensors)


def _layer_norm(name: str, module: Any) -> Node:
    if len(module.normalized_shape) != 1:
        raise ImportRefused(f"layer {name!r} is a LayerNorm over {len(module.normalized_shape)} dimensions, not one.")
    affine, bias = module.weight is not None, module.bias is not None
    tensors = ({"weight": array(module.weight)} if affine else {}) | ({"bias": array(module.bias)} if bias else {})
    fields = {"affine": affine, "bias": bias or not affine, "eps": module.eps}
    return Node(name=name, kind="layer_norm", fields=fields, tensors=tensors)


def _prelu(name: str, module: Any) -> Node:
    shared = module.weight.numel() == 1
    return Node(name=name, kind="prelu", fields={"shared": shared}, tensors={"weight": array(module.weight)})


def _activation(activation: LayerActivation, *constants: str) -> Callable[[str, Any], Node]:
    def make(name: str, module: Any) -> Node:
        return activation_node(name, activation, *(float(getattr(module, constant)) for constant in constants))

    return make


def activation_node(name: str, activation: LayerActivation, *constants: float) -> Node:
    """Returns the step of an activation.

    Args:
        name: name of the step.
        activation: function of the activation.
        *constants: constants of the activation.
    """
    return Node(name=name, kind="activation", fields={"activation": activation, "constants": constants})


def _gelu(name: str, module: Any) -> Node:
    return activation_node(name, "gelu_tanh" if module.approximate == "tanh" else "gelu")


def _softplus(name: str, module: Any) -> Node:
    # torch gives z itself where beta·z is above the threshold; the difference is below float32 at torch's default, 20.
    if math.log1p(math.exp(-float(module.threshold))) / float(module.beta) > _LEAST_DIFFERENCE:
        raise ImportRefused(
            f"layer {name!r} is a Softplus with threshold {module.threshold:g}, above which it is another function: "
            "Axon takes the default of 20."
        )
    return activation_node(name, "softplus", float(module.beta))


def _dropout(name: str, module: Any) -> Node:
    return Node(name=name, kind="dropout", fields={"probability": float(module.p)})


def _nothing(name: str, module: Any) -> Node:
    return Node(name=name, kind="nothing")


def _flatten(name: str, module: Any) -> Node:
    if (module.start_dim, module.end_dim) not in ((1, -1), (1, 1), (-1, -1)):
        raise ImportRefused(f"layer {name!r} flattens the rows into one: Axon takes Flatten(start_dim=1).")
    return Node(name=name, kind="nothing")


def _softmax(kind: str) -> Callable[[str, Any], Node]:
    def make(name: str, module: Any) -> Node:
        return _softmax_node(name, kind, module.dim)

    return make


def _softmax_node(name: str, kind: str, dim: object) -> Node:
    if dim not in (1, -1, None):
        raise ImportRefused(f"step {name!r} is a softmax over dimension {dim!r}, and not over the classes (1 or -1).")
    return Node(name=name, kind=kind)


_MODULES: Mapping[type[nn.Module], Callable[[str, Any], Node]] = {
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm,
    nn.SyncBatchNorm: _batch_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    nn.ReLU: _activation("relu"),
    nn.ReLU6: _activation("hardtanh", "min_val", "max_val"),
    nn.LeakyReLU: _activation("leaky_relu", "negative_slope"),
    nn.ELU: _activation("elu", "alpha"),
    nn.CELU: _activation("celu", "alpha"),
    nn.SELU: _activation("selu"),
    nn.GELU: _gelu,
    nn.SiLU: _activation("silu"),
    nn.Mish: _activation("mish"),
    nn.Tanh: _activation("tanh"),
    nn.Sigmoid: _activation("sigmoid"),
    nn.LogSigmoid: _activation("logsigmoid"),
    nn.Hardtanh: _activation("hardtanh", "min_val", "max_val"),
    nn.Hardswish: _activation("hardswish"),
    nn.Hardsigmoid: _activation("hardsigmoid"),
    nn.Softsign: _activation("softsign"),
    nn.Softplus: _softplus,
    nn.Identity: _nothing,
    nn.Dropout: _dropout,
    nn.AlphaDropout: _dropout,
    nn.Flatten: _flatten,
    nn.Softmax: _softmax("softmax"),
    nn.LogSoftmax: _softmax("log_softmax"),
}

_Arguments = Mapping[str, Any]


def _function(activation: LayerActivation, **constants: tuple[str, float]) -> Callable[[str, _Arguments], Node]:
    """Makes the reader of a function with constants: each has its place, its name and its default."""

    def make(name: str, arguments: _Arguments) -> Node:
        left = {key: value for key, value in arguments.items() if key != "inplace"}
        read = []
        for constant, (place, default) in constants.items():
            read.append(left.pop(constant, left.pop(place, default)))
        if left and not set(left) <= {"1"}:  # the place of `inplace` in functions without constants
            raise ImportRefused(f"step {name!r} of the forward pass has arguments that Axon does not know: {left!r}.")
        return activation_node(name, activation, *map(float, read))

    return make


def _function_gelu(name: str, arguments: _Arguments) -> Node:
    return activation_node(name, "gelu_tanh" if arguments.get("approximate") == "tanh" else "gelu")


def _function_dropout(name: str, arguments: _Arguments) -> Node:
    if arguments.get("training", arguments.get("2", True)):
        raise ImportRefused(
            f"step {name!r} of the forward pass drops units in evaluation, too: write "
            "F.dropout(x, p, training=self.training), or use nn.Dropout."
        )
    return Node(name=name, kind="dropout")


def _function_softmax(kind: str) -> Callable[[str, _Arguments], Node]:
    def make(name: str, arguments: _Arguments) -> Node:
        return _softmax_node(name, kind, arguments.get("dim", arguments.get("1")))

    return make


def _function_flatten(name: str, arguments: _Arguments) -> Node:
    if arguments.get("start_dim", arguments.get("1", 0)) not in (1, -1):
        raise ImportRefused(f"step {name!r} of the forward pass flattens the rows into one: flatten from dimension 1.")
    return Node(name=name, kind="nothing")


def _function_squeeze(name: str, arguments: _Arguments) -> Node:
    if arguments.get("dim", arguments.get("1")) not in (1, -1):
        raise ImportRefused(
            f"step {name!r} of the forward pass squeezes every dimension, and would also remove that of a single row: "
            "write squeeze(-1)."
        )
    return Node(name=name, kind="squeeze")


def _function_nothing(name: str, arguments: _Arguments) -> Node:
    return Node(name=name, kind="nothing")


_FUNCTIONS: Mapping[str, Callable[[str, _Arguments], Node]] = {
    "relu": _function("relu"),
    "relu6": lambda name, arguments: activation_node(name, "hardtanh", 0.0, 6.0),
    "leaky_relu": _function("leaky_relu", negative_slope=("1", 0.01)),
    "elu": _function("elu", alpha=("1", 1.0)),
    "celu": _function("celu", alpha=("1", 1.0)),
    "selu": _function("selu"),
    "gelu": _function_gelu,
    "silu": _function("silu"),
    "mish": _function("mish"),
    "tanh": _function("tanh"),
    "sigmoid": _function("sigmoid"),
    "logsigmoid": _function("logsigmoid"),
    "log_sigmoid": _function("logsigmoid"),
    "hardtanh": _function("hardtanh", min_val=("1", -1.0), max_val=("2", 1.0)),
    "hardswish": _function("hardswish"),
    "hardsigmoid": _function("hardsigmoid"),
    "softsign": _function("softsign"),
    "softplus": _function("softplus", beta=("1", 1.0)),
    "dropout": _function_dropout,
    "softmax": _function_softmax("softmax"),
    "log_softmax": _function_softmax("log_softmax"),
    "flatten": _function_flatten,
    "squeeze": _function_squeeze,
    "contiguous": _function_nothing,
    "detach": _function_nothing,
}
