"""A state dict with an architecture, as a module: layers are read from names and shapes, activations from the user.

No file of `torch.save` is read, because reading one can run code. The user loads it with `weights_only=True`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
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
_REMEDY = "build the module, load the state dict into it, and publish the module."
_LISTED = 10  # layers named in a message
_COUNTER = "num_batches_tracked"


def is_state_dict(model: object) -> bool:
    """Returns True if an object is a mapping from names to tensors."""
    if not isinstance(model, Mapping) or not model:
        return False
    return all(isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in model.items())


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict from a safetensors file.

    Raises:
        ImportRefused: The file is of another format, cannot be read, is a checkpoint of Axon's, or does not show the
            order of the layers.
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
        state = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise ImportRefused(f"{path} cannot be read: {error!s:.200}.") from error
    return _ordered(state, path)


def _ordered(state: dict[str, torch.Tensor], path: Path) -> dict[str, torch.Tensor]:
    """Returns the tensors of a file, which sorts names as texts, in the order of the layers' numbers.

    Raises:
        ImportRefused: The names have no numbers, and the widths fit several orders.
    """
    layers = list(_by_layer(state))
    found = [re.fullmatch(r"(.*?)([0-9]+)", layer) for layer in layers]
    numbers = {layer: int(match[2]) for layer, match in zip(layers, found, strict=True) if match}
    if len(numbers) == len(layers) and len({match[1] for match in found if match}) == 1:
        return dict(sorted(state.items(), key=lambda item: numbers[item[0].rpartition(".")[0]]))
    widths = [tensor.shape[1] for tensor in state.values() if tensor.ndim == 2]
    if len(set(widths)) < len(widths):
        raise ImportRefused(
            f"{path} tells no order of the layers {', '.join(map(repr, layers[:_LISTED]))}, as a .safetensors file "
            f"sorts names, and the widths fit several orders: {_REMEDY}"
        )
    return state


def module_of(
    state: Mapping[str, torch.Tensor], *, activation: str, layer_sizes: Sequence[int] | None = None
) -> nn.Module:
    """Builds the module that a state dict and an architecture describe.

    A layer's tensors say what it is: a matrix is a Linear, running statistics are a BatchNorm. A vector alone, or with
    a bias, may be one of several normalisations or a PReLU, and is refused. The activation comes after each Linear but
    the last. Beside a BatchNorm, its place is where the numbers of the layers in an `nn.Sequential` leave a gap.

    Args:
        state: tensors by name, in the order of the forward pass.
        activation: function between two Linears.
        layer_sizes: widths from the input to the output, to check the shapes against; unchecked if None.

    Raises:
        ImportRefused: A tensor does not fit into such an architecture.
    """
    if activation not in _ACTIVATIONS:
        raise ImportRefused(f"activation must be one of {', '.join(sorted(_ACTIVATIONS))}, got {activation!r}.")
    layers = [(name, _layer(name, own)) for name, own in _in_order(_by_layer(state)).items()]
    widths = [layer for _, layer in layers if isinstance(layer, nn.Linear)]
    if not widths:
        raise ImportRefused("the state dict has no matrix, so there is no Linear in it.")
    sizes = [widths[0].in_features, *(layer.out_features for layer in widths)]
    if layer_sizes is not None and list(layer_sizes) != sizes:
        raise ImportRefused(f"layer_sizes= says {list(layer_sizes)}, and the tensors have {sizes}.")
    after = _activation_places(layers)
    network = nn.Sequential()
    number = 0
    for place, (name, layer) in enumerate(layers):
        network.add_module(name.replace(".", "_") or "layer", layer)
        if place in after:
            network.add_module(f"activation_{number}", _ACTIVATIONS[activation]())
            number += 1
    _check_widths(network)
    return network


def _activation_places(layers: Sequence[tuple[str, nn.Module]]) -> set[int]:
    """Returns the places of the layers that an activation follows.

    Raises:
        ImportRefused: The names do not show the place of an activation.
    """
    names = [name for name, _ in layers]
    numbers, gaps = _numbers(names), _gaps(names)
    linears = [place for place, (_, layer) in enumerate(layers) if isinstance(layer, nn.Linear)]
    after: set[int] = set()
    without_gap: list[int] = []
    for start, end in pairwise([-1, *linears, len(layers)]):
        between = gaps & set(range(max(start, 0), end))
        is_inner = start >= 0 and end < len(layers)
        if end - start > 1 and (numbers is None or len(between) != is_inner):
            raise _unclear(f"beside the normalisation {layers[start + 1][0]!r}")
        if not is_inner:
            continue
        if end - start == 1 and not between:
            without_gap.append(start)
        after |= between or {start}
    if gaps and without_gap:  # without any gap the layers are in a list, and the forward pass has the activations
        raise _unclear(f"after {layers[without_gap[0]][0]!r}, as after others")
    return after


def _unclear(where: str) -> ImportRefused:
    return ImportRefused(
        f"the names in the state dict do not show whether there is an activation {where}, or on which side: {_REMEDY}"
    )


def _gaps(names: Sequence[str]) -> set[int]:
    """Returns the places after which the numbers of an `nn.Sequential` leave a gap, for a layer without tensors."""
    parts = [name.rpartition(".") for name in names]
    return {
        place
        for place, ((prefix, _, one), (next_prefix, _, next_)) in enumerate(pairwise(parts))
        if prefix == next_prefix and one.isdecimal() and next_.isdecimal() and int(next_) - int(one) > 1
    }


def _numbers(names: Sequence[str]) -> list[int] | None:
    """Returns the numbers of layers of one `nn.Sequential`; None if the names are others."""
    parts = [name.rpartition(".") for name in names]
    is_one = len({prefix for prefix, _, _ in parts}) == 1
    return [int(last) for _, _, last in parts] if is_one and all(last.isdecimal() for _, _, last in parts) else None


def _in_order(layers: dict[str, dict[str, torch.Tensor]]) -> dict[str, dict[str, torch.Tensor]]:
    """Returns layers of one `nn.Sequential` in the order of the numbers: a file may have 10 before 2."""
    numbers = _numbers(list(layers))
    if numbers is None:
        return layers
    return {name: layers[name] for _, name in sorted(zip(numbers, layers, strict=True))}


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
    if layer is None:
        shapes = ", ".join(f"{key} {tuple(tensor.shape)}" for key, tensor in own.items())
        raise ImportRefused(
            f"layer {name!r} of the state dict ({shapes}) is not a Linear or BatchNorm, which the tensors alone show: "
            f"{_REMEDY}"
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
    return None
