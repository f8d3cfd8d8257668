"""The server's documents about models: dictionaries, whose keys and types are known here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypedDict

from models.columns.labels import Label


class ModelEntry(TypedDict):
    """An entry in the list of models: the version to which the name refers, and all versions and aliases.

    An alias means a version, or has the weights of a split: `{"weights": {"3": 90, "4": 10}}`.
    """

    name: str
    version: int
    versions: list[int]
    aliases: dict[str, Any]
    in_memory: list[int]
    task: str
    columns: int
    total_params: int
    published: str
    metrics: dict[str, float]


class ModelList(TypedDict):
    """The served models, and the reasons why others are not served, by id.

    `default` is the model that answers requests that name none; None if the server refuses such requests.
    """

    models: list[ModelEntry]
    default: str | None
    problems: dict[str, str]


class ModelDetail(TypedDict):
    """The detail of a model version, as `GET /models/{id}` answers."""

    name: str
    version: int
    versions: list[int]
    aliases: dict[str, Any]
    task: str
    classes: list[Label] | None
    targets: list[str] | None
    columns: list[dict[str, Any]]
    target: dict[str, Any]
    architecture: dict[str, Any]
    total_params: int
    trainable_params: int
    training: dict[str, Any]
    metrics: dict[str, Any]
    data: dict[str, Any]
    batch_invariant: bool
    digest: str
    published: str
    example: dict[str, Any]


class LayerSummary(TypedDict):
    """One layer of a summary. A dimension of -1 is any number of rows."""

    name: str
    type: str
    input_shape: list[int]
    output_shape: list[int]
    params: int
    trainable_params: int
    multiply_adds: int


class ModelSummary(TypedDict):
    """The layers and the counts of parameters of a model version, as `GET /models/{id}/summary` answers."""

    model: str
    version: int
    layers: list[LayerSummary]
    total_params: int
    trainable_params: int
    non_trainable_params: int
    multiply_adds: int


@dataclass(frozen=True)
class Health:
    """The state of a server.

    Attributes:
        ready: True if the server answers predictions.
        reason: reason why the server is not ready, in words; None for a ready server.
    """

    ready: bool
    reason: str | None = None


@dataclass(frozen=True)
class KnownVersion:
    """The facts about a model version that the client needs for predictions.

    Attributes:
        model: name of the model.
        version: number of the version.
        names: names of the columns, in order.
        is_numeric: True if all columns hold numbers.
        categorical: names of the columns of categories.
        numeric: names of the columns of numbers.
        classes: labels in the order of the probabilities; empty for a regressor.
        targets: names of several targets in the order of the values; empty for one target.
    """

    model: str
    version: int
    names: tuple[str, ...]
    is_numeric: bool
    classes: tuple[Label, ...]
    targets: tuple[str, ...] = ()
    categorical: frozenset[str] = frozenset()
    numeric: frozenset[str] = frozenset()

    @classmethod
    def of(cls, detail: ModelDetail) -> KnownVersion:
        """Returns the facts of a detail."""
        columns = detail["columns"]
        return cls(
            model=detail["name"],
            version=detail["version"],
            names=tuple(column["name"] for column in columns),
            is_numeric=all(column["kind"] == "numeric" for column in columns),
            classes=tuple(detail["classes"] or ()),
            targets=tuple(detail.get("targets") or ()),
            categorical=frozenset(column["name"] for column in columns if column["kind"] == "categorical"),
            numeric=frozenset(column["name"] for column in columns if column["kind"] == "numeric"),
        )

    def has_columns_of(self, other: KnownVersion) -> bool:
        """Returns True if both versions read rows alike: the same names in the same order, and of the same kinds."""
        return (self.names, self.categorical, self.numeric) == (other.names, other.categorical, other.numeric)

    @property
    def reference(self) -> str:
        """The name and the version, `name@version`."""
        return f"{self.model}@{self.version}"
