"""A model as a component of CycloneDX: digests, architecture, training data and metrics, out of the checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

from models.checkpoint import LoadedCheckpoint
from models.model_version import ModelVersion
from models.network.sequence import SequenceConfig

_SETTINGS = ("engine", "recipe", "seed", "epochs_run", "precision")  # of training
_TARGETS = "targets"  # metrics of each of several targets, by name
_COUNT = "rows"  # stands among the metrics of a part, and is none


def model_component(version: ModelVersion, loaded: LoadedCheckpoint) -> dict[str, Any]:
    """Returns the component of a model. No row of the training table is in it.

    Args:
        version: version in a store.
        loaded: checkpoint of the version.
    """
    ref = f"pkg:generic/{version.name}@{version.version}?checksum=sha256:{sha256(loaded.payload).hexdigest()}"
    checkpoint = loaded.checkpoint
    card = {
        "modelParameters": _parameters(loaded, f"{ref}#data"),
        "quantitativeAnalysis": {"performanceMetrics": list(_metrics(checkpoint.metrics))},
    }
    properties = {
        "axon:digest": loaded.digest,
        "axon:parameters": checkpoint.config.parameter_count,
        "axon:members": checkpoint.config.members,
        **{f"axon:training:{name}": checkpoint.training[name] for name in _SETTINGS if name in checkpoint.training},
        **_distillation(checkpoint.training),
    }
    if checkpoint.config.member_weights is not None:
        properties["axon:member_weights"] = list(checkpoint.config.member_weights)
    return {
        "type": "machine-learning-model",
        "bom-ref": ref,
        "name": version.name,
        "version": str(version.version),
        "purl": ref,
        "hashes": [{"alg": "SHA-256", "content": sha256(loaded.payload).hexdigest()}],
        "modelCard": card,
        "properties": _properties(properties),
    }


def _parameters(loaded: LoadedCheckpoint, data_ref: str) -> dict[str, Any]:
    checkpoint = loaded.checkpoint
    config, schema = checkpoint.config, checkpoint.schema
    if isinstance(config, SequenceConfig):
        architecture = f"a sequence of {len(config.sequence)} layers, imported"
    else:
        architecture = f"{'-'.join(map(str, config.layer_sizes))}, {config.activation}"
    parameters: dict[str, Any] = {
        "approach": {"type": "supervised"},
        "task": config.task,
        "architectureFamily": "multi-layer perceptron",
        "modelArchitecture": architecture,
        "inputs": [{"format": f"{column.name}: {column.kind}"} for column in schema.columns],
        "outputs": [{"format": f"{target.name}: {target.kind}"} for target in schema.values or (schema.target,)],
    }
    if data := _dataset(checkpoint.data, data_ref):
        parameters["datasets"] = [data]
    return parameters


def _distillation(training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the numbers of members and of rows of a distillation; nothing for a network that learned from labels.

    The number of members among the settings of a run is the ensemble's, and the distilled model is one network.
    """
    distilled = training.get("distilled")
    if not isinstance(distilled, Mapping):
        return {}
    return {f"axon:training:distilled:{name}": distilled[name] for name in ("members", "rows") if name in distilled}


def _dataset(data: Mapping[str, Any], ref: str) -> dict[str, Any] | None:
    """Returns the training table by its name, fingerprint and counts; None if these are not known."""
    if not data:
        return None
    split = data.get("split")
    facts = {name: data[name] for name in ("fingerprint", "rows", "columns", "whole_table") if name in data}
    facts |= {f"rows:{part}": rows for part, rows in split.items()} if isinstance(split, Mapping) else {}
    contents = {"properties": _properties({f"axon:data:{name}": value for name, value in facts.items()})}
    return {"bom-ref": ref, "type": "dataset", "name": str(data.get("name", "unknown")), "contents": contents}


def _metrics(metrics: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Yields the finite numbers among the metrics of each part of the table, and of each of several targets."""
    for part, figures in sorted(metrics.items()):
        if not isinstance(figures, Mapping):
            continue
        of_targets = figures.get(_TARGETS)
        slices = {part: figures}
        if isinstance(of_targets, Mapping):
            slices |= {f"{part}: {name}": own for name, own in of_targets.items() if isinstance(own, Mapping)}
        for place, own in slices.items():
            for name, value in sorted(own.items()):
                if name != _COUNT and _is_number(value):
                    yield {"type": name, "value": repr(value), "slice": place}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    """Returns properties, whose values CycloneDX wants as texts: JSON for anything but a text."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    return [{"name": name, "value": text} for name, text in sorted(texts.items())]
