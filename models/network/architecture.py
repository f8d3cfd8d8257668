"""The architecture of a network: an MLP of equal blocks, the kind that Axon trains, or any sequence of layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.sequence import SequenceConfig

Architecture: TypeAlias = MLPConfig | SequenceConfig


def architecture_from_dict(raw: Mapping[str, Any]) -> Architecture:
    """Builds an architecture from the result of its `to_dict`.

    Raises:
        ConfigError: A field is unknown or missing, or has a value that cannot be built.
    """
    if not isinstance(raw, Mapping):
        raise ConfigError(f"the architecture must be an object of fields, got {raw!r:.200}.")
    return SequenceConfig.from_dict(raw) if raw.get("kind") == "sequence" else MLPConfig.from_dict(raw)


def own_architecture(architecture: Architecture) -> MLPConfig:
    """Returns the architecture of a network that Axon trained.

    Raises:
        ConfigError: The network was made elsewhere.
    """
    if isinstance(architecture, MLPConfig):
        return architecture
    raise ConfigError("the model was imported: only a model that Axon trained can be calibrated or reported again.")
