"""A state dict with an architecture, as a module: layers are read from names and shapes, activations from the user.

No file of `torch.save` is read, because reading one can run code. The user loads it with `weights_only=True`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from conversion.importing.imported_model import ImportRefused

_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "celu": nn.CELU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "hardtanh": nn.Hardtanh,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "logsigmoid": nn.LogSigmoid,
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "selu": nn.SELU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
}
_COUNTER = "num_batches_tracked"


def is_state_dict(model: object) -> bool:
    """Returns True if an object is a mapping from names to tensors."""
    if not isinstance(model, Mapping) or not model:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in model.items())


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict from a safetensors file.

    Raises:
        ImportRefused: The file is of another format, cannot be read, or is a checkpoint of Axon's.
    """
    if path.suffix.lower() in _PICKLES:
        raise ImportRefused(
            f"{path} is a pickle, which can run code when it is read. Load it yourself, and hand over what you get: "
            f"axon.publish(torch.load({str(path)!r}, weights_only=True), activation=…, columns=…, name=…)."
        )
    if path.suffix.lower() != ".safetensors":
        raise ImportRefused(f"{path} is no .safetensors file: a state dict is read from such a file only.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            if "axon" in (file.metadata() or {}):
                raise ImportRefused(f"{path} is a checkpoint of Axon's own: publish it with `axon publish {path}`.")
        return dict(safetensors.torch.load_file(path))
    except (OSError, safetensors.SafetensorError) as error:
        raise ImportRefused(f"{path} cannot be read: {error!s:.200}.") from error


def module_of(
    state: Mapping[str, torch.Tensor], *, activation: str, layer_sizes: Sequence[int] | None = None
) -> nn.Module:
    """Builds the module that a state dict and an architecture describe.

    A layer's tensors say what it is: a matrix is a Linear, running statistics are a BatchNorm, a vector with a bias is
    a LayerNorm, a vector alone is a PReLU. After each Linear and its normalisation comes the activation, unless a
    PReLU is there, and none after the last Linear.

    Args:
        state: tensors by name, in the order of the forward pass.
        activation: function between two Linears.
        layer_sizes: widths from the input to the output, to check the shapes against; unchecked if None.

    Raises:
        ImportRefused: A tensor does not fit into such an architecture.
    """
    if activation not in _ACTIVATIONS:
        raise ImportRefused(f"activation must be one of {', '.join(sorted(_ACTIVATIONS))}, got {activation!r}.")
    layers = [(name, _layer(name, own)) for name, own in _by_layer(state).items()]
    widths = [layer for _, layer in layers if isinstance(layer, nn.Linear)]
    if not widths:
        raise ImportRefused("the state dict has no matrix, so there is no Linear in it.")
    sizes = [widths[0].in_features, *(layer.out_features for layer in widths)]
    if layer_sizes is not None and list(layer_sizes) != sizes:
        raise ImportRefused(f"layer_sizes= says {list(layer_sizes)}, and the tensors have {sizes}.")
    network = nn.Sequential()
    pending, number = False, 0
    for name, layer in layers:
        if pending and (isinstance(layer, nn.Linear | nn.PReLU)):
            if isinstance(layer, nn.Linear):
                network.add_module(f"activation_{number}", _ACTIVATIONS[activation]())
                number += 1
            pending = False
        pending = pending or isinstance(layer, nn.Linear)
        network.add_module(name.replace(".", "_") or "layer", layer)
    _check_widths(network)
    return network


def _by_layer(state: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    layers: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        layer, _, own = name.rpartition(".")
        if own != _COUNTER:
            layers.setdefault(layer, {})[own] = tensor
    return layers


def _layer(name: str, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    own = {key: tensor.detach().to("cpu", torch.float64) for key, tensor in tensors.items()}
    weight, bias = own.get("weight"), own.get("bias")
    layer: Any = None
    if weight is not None and weight.ndim == 2 and own.keys() <= {"weight", "bias"}:
        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    elif {"running_mean", "running_var"} <= own.keys() <= {"weight", "bias", "running_mean", "running_var"}:
        layer = nn.BatchNorm1d(len(own["running_mean"]), affine=weight is not None)
    elif weight is not None and weight.ndim == 1 and own.keys() == {"weight", "bias"}:
        layer = nn.LayerNorm(len(weight))
    elif weight is not None and weight.ndim == 1 and own.keys() == {"weight"}:
        layer = nn.PReLU(len(weight))
    if layer is None:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in own.items())
        raise ImportRefused(
            f"layer {name!r} of the state dict ({shapes}) is not a Linear, BatchNorm, LayerNorm or PReLU: build the "
            "module, load the state dict into it, and publish the module."
        )
    layer = layer.to(torch.float64)
    try:
        layer.load_state_dict(own, strict=False)
    except RuntimeError as error:
        raise ImportRefused(f"layer {name!r} of the state dict does not fit together: {error!s:.200}.") from error
    return layer  # type: ignore[no-any-return]


def _check_widths(network: nn.Sequential) -> None:
    width: int | None = None
    for name, layer in network.named_children():
        takes = _takes(layer)
        if width is not None and takes is not None and takes != width:
            raise ImportRefused(
                f"layer {name!r} of the state dict takes {takes} features, and gets {width}: the tensors are not those "
                "of a chain of layers in this order."
            )
        if isinstance(layer, nn.Linear):
            width = layer.out_features


def _takes(layer: nn.Module) -> int | None:
    if isinstance(layer, nn.Linear):
        return layer.in_features
    if isinstance(layer, nn.BatchNorm1d):
        return layer.num_features
    if isinstance(layer, nn.LayerNorm):
        return layer.normalized_shape[0]
    return None
