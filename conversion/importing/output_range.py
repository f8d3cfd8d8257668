"""The range of a network's last values, which shows a probability in place of a logit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from conversion.importing.imported_model import Float64Array
from models.network.layer_activations import activate
from models.network.sequence import SequenceLayer

# Numbers of all sizes, at which an elementwise function takes its least and its greatest value.
_POWERS: Float64Array = np.power(10.0, np.arange(2, 31)).astype(np.float64)
_NUMBERS: Float64Array = np.concatenate([-_POWERS[::-1], np.arange(-3_200, 3_201) / 64.0, _POWERS])
_ROUNDING = 1e-6


def bounds_of_shares(
    sequence: Sequence[SequenceLayer], tensors: Mapping[str, Float64Array]
) -> tuple[SequenceLayer, float, float] | None:
    """Finds the functions at the end of a network that keep all values within 0 and 1, as probabilities are.

    A Linear that only scales single units, as for the pair `1 - p, p`, does not end the search; any other one does.

    Args:
        sequence: layers of the network.
        tensors: tensors by name.

    Returns:
        The last function, and the least and the greatest value after all layers; None if the values leave 0 to 1.
    """
    layers: list[SequenceLayer] = []
    for layer in reversed(sequence):
        if layer.kind == "layer_norm" or (layer.kind == "linear" and not _takes_single_units(layer, tensors)):
            break
        layers.insert(0, layer)
    functions = [layer for layer in layers if layer.kind == "activation"]
    if not functions:
        return None
    values = _NUMBERS[:, None]  # (numbers, units), or (numbers, 1) while all units are alike
    with np.errstate(all="ignore"):
        for layer in layers:
            values = _after(layer, values, tensors)
    least, most = float(values.min()), float(values.max())
    return (functions[-1], least, most) if least >= -_ROUNDING and most <= 1 + _ROUNDING else None


def _takes_single_units(layer: SequenceLayer, tensors: Mapping[str, Float64Array]) -> bool:
    return bool((np.count_nonzero(tensors[f"{layer.name}.weight"], axis=1) <= 1).all())


def _after(layer: SequenceLayer, values: Float64Array, tensors: Mapping[str, Float64Array]) -> Float64Array:
    """Returns the values after a layer whose outputs take one unit each."""
    own = {name: tensors.get(f"{layer.name}.{name}") for name in ("weight", "bias", "running_mean", "running_var")}
    weight, bias, mean, variance = own.values()
    if layer.kind == "activation" and layer.activation is not None:
        return np.asarray(activate(layer.activation, layer.constants, values), dtype=np.float64)
    if layer.kind == "linear" and weight is not None:
        taken = np.abs(weight).argmax(axis=1)  # the single unit of each output
        units = values if values.shape[1] == 1 else values[:, taken]
        return np.asarray(units * weight[np.arange(len(weight)), taken] + (0.0 if bias is None else bias))
    if layer.kind == "prelu" and weight is not None:
        return np.where(values >= 0, values, weight * values)
    if layer.kind == "batch_norm" and mean is not None and variance is not None:
        scale = (1.0 if weight is None else weight) / np.sqrt(variance + layer.eps)
        return np.asarray((values - mean) * scale + (0.0 if bias is None else bias), dtype=np.float64)
    return values
