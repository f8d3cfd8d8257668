"""A model to export: checkpoint, fused network, name and version."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from models.checkpoint import Checkpoint
from models.columns.labels import Label
from models.columns.schema import ClassTarget, ValuesTarget
from models.network.inference_network import InferenceNetwork


@dataclass(frozen=True, kw_only=True)
class SourceModel:
    """A model to export.

    Attributes:
        checkpoint: checkpoint of the model.
        name: name of the model.
        axon_version: version of Axon that writes the export.
        version: version number of a published model; None for a model that is not published.
        digest: digest of the published checkpoint, `sha256:…`; None for a model that is not published.
    """

    checkpoint: Checkpoint
    name: str
    axon_version: str
    version: int | None = None
    digest: str | None = None

    @property
    def reference(self) -> str:
        """The model as `NAME@VERSION`; the name alone for a model that is not published."""
        return self.name if self.version is None else f"{self.name}@{self.version}"

    @cached_property
    def network(self) -> InferenceNetwork:
        """The fused network, which the server runs too."""
        return self.checkpoint.inference_network()

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels in the order of the network's outputs; empty for a regression."""
        target = self.checkpoint.schema.target
        return target.labels if isinstance(target, ClassTarget) else ()

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of several targets in the order of the network's outputs; empty for one target."""
        target = self.checkpoint.schema.target
        return target.names if isinstance(target, ValuesTarget) else ()

    @property
    def has_probabilities(self) -> bool:
        """True if the answers are probabilities of classes, and not values or decisions."""
        return self.checkpoint.config.has_probabilities

    @property
    def origin_line(self) -> str:
        """One line that says where the export comes from."""
        digest = f" ({self.digest})" if self.digest else ""
        return f"Axon {self.axon_version} wrote this file from {self.reference}{digest}."
