"""The network of a model version as a document: layers, statistics of their tensors, and the values of small ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from models.checkpoint_tensors import read_tensors
from models.columns.labels import Label
from models.errors import CheckpointError
from models.input_names import input_names
from models.network.config import LayerSpec
from models.network.tensor_statistics import tensor_statistics
from service.batching.served_version import ServedVersion
from service.errors import ModelUnavailable
from service.http.network_schemas import LayerOfNetwork, NetworkResponse, TensorOfLayer

MOST_VALUES = 4_096  # values of a network that are listed, 50 kB; a drawing of more links would show nothing
_MOST_NAMES = 512

Tensors = Mapping[str, TensorOfLayer]
_T = TypeVar("_T")


def network_document(served: ServedVersion, paths: Sequence[Path]) -> NetworkResponse:
    """Reads a version's checkpoint and describes the network. Takes about 0.1 s for ten million parameters.

    Args:
        served: model version.
        paths: paths at which the checkpoint may be; the first one that has the checkpoint is read.

    Raises:
        ModelUnavailable: the checkpoint is at none of the paths.
    """
    config = served.config
    tensors = _read(served, paths)
    outputs: Sequence[Label] = served.labels or served.targets or (served.schema.target.name,)
    return NetworkResponse(
        model=served.name,
        version=served.version,
        task=config.task,
        output=config.output,
        members=config.members,
        member_weights=None if config.member_weights is None else list(config.member_weights),
        temperature=config.temperature,
        total_params=served.total_params,
        most_values=MOST_VALUES,
        inputs=_few(input_names(served.schema, config.inputs)),
        outputs=_few(outputs),
        layers=[_layer(layer, tensors) for layer in config.layers()],
    )


def _read(served: ServedVersion, paths: Sequence[Path]) -> Tensors:
    """Returns the description of each tensor, by the tensor's name in the checkpoint."""
    shapes = served.config.tensor_shapes().values()
    is_small = sum(int(np.prod(shape)) for shape in shapes) <= MOST_VALUES
    for path in paths:
        try:
            return {
                name: _tensor(name, tensor, is_listed=is_small)
                for name, tensor in read_tensors(path, served.config, served.digest)
            }
        except CheckpointError:
            continue
    raise ModelUnavailable(f"the checkpoint of {served} cannot be read: its file is gone, or another one.")


def _tensor(name: str, tensor: NDArray[np.float32], *, is_listed: bool) -> TensorOfLayer:
    statistics = tensor_statistics(tensor)
    return TensorOfLayer(
        name=name.rpartition(".")[2],
        shape=list(tensor.shape),
        learned=True,
        mean=statistics.mean,
        std=statistics.std,
        minimum=_short(statistics.minimum),
        maximum=_short(statistics.maximum),
        zeros=statistics.zeros,
        edges=list(statistics.edges),
        counts=list(statistics.counts),
        values=[_short(value) for value in tensor.reshape(-1)] if is_listed else None,
    )


def _layer(layer: LayerSpec, tensors: Tensors) -> LayerOfNetwork:
    learned = [tensors[f"{layer.name}.{name}"] for name in layer.parameters]
    kept = [tensors[f"{layer.name}.{name}"].model_copy(update={"learned": False}) for name in layer.buffers]
    return LayerOfNetwork(
        name=layer.name,
        kind=layer.kind,
        type=layer.type,
        in_features=layer.in_features,
        out_features=layer.out_features,
        params=layer.parameter_count,
        multiply_adds=layer.multiply_adds,
        tensors=[*learned, *kept],
    )


def _few(names: Iterable[_T]) -> list[_T] | None:
    """Returns some names, or None if there are more than `_MOST_NAMES`."""
    first = list(islice(names, _MOST_NAMES + 1))
    return first if len(first) <= _MOST_NAMES else None


def _short(value: float | np.float32) -> float:
    """Returns a float32 value with the fewest digits that still give the same float32."""
    return float(str(np.float32(value)))
