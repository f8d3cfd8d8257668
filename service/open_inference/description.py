"""Descriptions of the server and of models: the protocol's metadata, and the configuration for Triton's clients."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from models.columns.column import NumericColumn
from service.batching.served_version import ServedVersion
from service.open_inference.outputs import ModelOutputs
from service.open_inference.tensors import BYTES

PLATFORM = "axon_mlp"
INPUT = "input"  # name of the tensor that holds all columns of a model with numeric columns only
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "statistics",
)

_CONFIG_TYPES = {BYTES: "TYPE_STRING"}


def server_metadata() -> dict[str, Any]:
    """Returns the metadata of the server."""
    return {"name": "axon", "version": version("axon"), "extensions": list(EXTENSIONS)}


def inputs_of(served: ServedVersion) -> list[tuple[str, str, tuple[int, ...]]]:
    """Returns name, datatype and shape of the inputs of a model; -1 stands for the number of rows."""
    encoder, columns = served.encoder, served.schema.columns
    if encoder.takes_numbers:
        return [(INPUT, "FP64" if encoder.takes_doubles else "FP32", (-1, len(columns)))]
    return [
        (column.name, ("FP64" if column.origin else "FP32") if isinstance(column, NumericColumn) else BYTES, (-1, 1))
        for column in columns
    ]


def model_metadata(served: ServedVersion, versions: Sequence[int]) -> dict[str, Any]:
    """Returns the metadata of a model.

    Args:
        served: model version.
        versions: numbers of all versions of the model.
    """
    return {
        "name": served.name,
        "versions": list(map(str, versions)),
        "platform": PLATFORM,
        "inputs": [_tensor(*given) for given in inputs_of(served)],
        "outputs": [_tensor(*given) for given in ModelOutputs(served).descriptions],
    }


def model_config(served: ServedVersion, most_rows: int) -> dict[str, Any]:
    """Returns the configuration of a model in Triton's form. Its shapes leave out the number of rows.

    Args:
        served: model version.
        most_rows: number of rows that a request may have.
    """
    return {
        "name": served.name,
        "platform": PLATFORM,
        "backend": "axon",
        "max_batch_size": most_rows,
        "input": [_config_tensor(*given) for given in inputs_of(served)],
        "output": [_config_tensor(*given) for given in ModelOutputs(served).descriptions],
        "dynamic_batching": {},
        "version_policy": {"all": {}},
    }


def _tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


def _config_tensor(name: str, datatype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "data_type": _CONFIG_TYPES.get(datatype, f"TYPE_{datatype}")}
    if len(shape) > 1:
        return described | {"dims": list(shape[1:])}
    return described | {"dims": [1], "reshape": {"shape": []}}
