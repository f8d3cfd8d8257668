"""A model version in an API process: all of its checkpoint but the weights."""

from __future__ import annotations

import copy
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
import orjson
from numpy.typing import NDArray

from models.checkpoint import read_header
from models.columns.encoding import RowEncoder
from models.columns.labels import Label
from models.columns.schema import ClassTarget, Schema, ValuesTarget
from models.conformal import Conformal, conformal_of, threshold_of
from models.errors import AxonError, CheckpointError, ConfigError
from models.file_identity import FileIdentity
from models.keys import key_of_members, make_key
from models.model_version import ModelVersion
from models.network.architecture import Architecture, architecture_from_dict
from models.network.summary import Summary, summarize
from service.errors import InvalidRequest
from service.metrics import ModelMetrics
from service.model_figures import test_metrics_of


class CopiesRequests(Protocol):
    """A shadow, which gets copies of the requests that a version answers.

    Attributes:
        needs_cells: True if the shadow needs the rows as they were before they were encoded.
    """

    needs_cells: bool

    def offer(self, ticket: Any, data: Any, cells: Any, start: int, stop: int, matrix: NDArray[np.float32], /) -> None:
        """Takes or drops rows of an answered request. May not raise."""


_PARTS = ("header", "config", "schema", "encoder", "conformal")
# Measured by the growth of a process by hundreds of versions: the bytes for each byte of a header, and of the rest.
_BYTES_OF_ONE = 11
_OBJECT_BYTES = 3_000


class ServedVersion:
    """One model version in an API process: all of its checkpoint but the weights.

    Args:
        place: version in the store.
        identity: identity of the version's file.
        metrics: metrics of the version.

    Raises:
        CheckpointError: the checkpoint cannot be read or is inconsistent.

    Attributes:
        place: version in the store.
        shadow: shadow of the alias by which a request came; None without one.
        signed: verified signature; None for a version that needs none.
        copy: path of a copy of the checkpoint, from which the version is read again after `release`; None for none.
        distributions: distributions of the training part as JSON text, compressed; None if the checkpoint has none.
        test_metrics: metrics of the test part, by name.
        listed_targets: names of several targets, for the list of models; None for other models.
        width: number of features of an encoded row.
    """

    shadow: CopiesRequests | None = None
    copy: Path | None = None
    header: dict[str, Any]
    config: Architecture
    schema: Schema
    encoder: RowEncoder
    conformal: Conformal | None

    def __init__(self, place: ModelVersion, identity: FileIdentity, metrics: ModelMetrics) -> None:
        self.place = place
        header, self.signed = place.read_signed_header()
        self._path = place.path
        # Compressed, which takes a thirtieth of the memory; only a version that is asked for rows needs more.
        distributions = self._packed(header.pop("distributions", None))
        self.distributions = None if distributions == b"null" else zlib.compress(distributions, 1)
        # The sections that are not kept as objects; the header quotes their names twice.
        self._plain_bytes = len(distributions) + distributions.count(b'"')
        self._plain_bytes += len(self._packed(header.get("conformal")))
        self.__dict__.update(self._parts_of(header))
        self.width = self.schema.width
        self.name, self.version = place.name, place.version
        self.identity = identity
        self.digest: str = self.header["digest"]
        self.key = make_key(place.name, place.version, self.digest)
        self.total_params = self.config.parameter_count
        self.task, self.columns = self.config.task, len(self.schema.columns)
        self.listed_targets = self.targets
        self.test_metrics = test_metrics_of(header)
        self.metrics = metrics
        self.batch_invariant = False  # until the workers have reported

    def _packed(self, section: object) -> bytes:
        """Returns a section of the header as JSON."""
        try:
            return orjson.dumps(section)
        except orjson.JSONEncodeError as error:  # a whole number of more than 64 bits, say
            raise CheckpointError(self._path, f"is inconsistent: {error}") from error

    def _parts_of(self, header: dict[str, Any]) -> dict[str, Any]:
        """Makes the parts of the version from its header."""
        try:
            config = architecture_from_dict(header["architecture"])
            schema = Schema.from_dict(header)
            conformal = conformal_of(header, schema)
        except (AxonError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise CheckpointError(self._path, f"is inconsistent: {error}") from error
        header.pop("conformal", None)
        encoder = RowEncoder(schema)
        return {"header": header, "config": config, "schema": schema, "encoder": encoder, "conformal": conformal}

    @property
    def path(self) -> Path:
        """Path of the checkpoint in a folder store, or in the cache of a bucket."""
        return self._path

    @property
    def memory_bytes(self) -> int:
        """Estimated number of bytes that `release` frees."""
        size = self.identity.size - 4 * self.total_params
        return _OBJECT_BYTES + _BYTES_OF_ONE * max(0, size - self._plain_bytes)

    @property
    def is_released(self) -> bool:
        """True from `release` to `restore`."""
        return "encoder" not in self.__dict__

    def release(self) -> None:
        """Frees the parts of the version. They are read again by `restore`, or else when one of them is asked for."""
        for part in (*_PARTS, "summary"):
            self.__dict__.pop(part, None)

    def restore(self) -> dict[str, Any]:
        """Reads the parts of the version again, and returns the parts; any thread may call this.

        Raises:
            CheckpointError: the copy of the checkpoint is gone, or another one.
        """
        path = self._path if self.copy is None else self.copy
        header = self.place.read_header() if self.copy is None else read_header(path)
        header.pop("distributions", None)
        if header["digest"] != self.digest:
            raise CheckpointError(path, "is not the checkpoint that was read before.")
        parts = self._parts_of(header)
        self.__dict__.update(parts)  # all at once: `release` may be called in another thread
        return parts

    def __getattr__(self, name: str) -> Any:
        """Reads a released version again for a request that was already on its way; other requests call `restore`."""
        if name not in _PARTS or "_path" not in self.__dict__:
            raise AttributeError(name)
        return self.restore()[name]

    @property
    def labels(self) -> tuple[Label, ...] | None:
        """Labels of a classifier in the order of the probabilities; None for a regressor."""
        target = self.schema.target
        return target.labels if isinstance(target, ClassTarget) else None

    @property
    def targets(self) -> tuple[str, ...] | None:
        """Names of the targets of a regressor with several; None for other models."""
        target = self.schema.target
        return target.names if isinstance(target, ValuesTarget) else None

    @property
    def origin(self) -> float | NDArray[np.float64]:
        """Number to add to the float32 answers of a regressor, of several targets `(targets,)`; 0 for a classifier."""
        return self.schema.origin

    @cached_property
    def summary(self) -> Summary:
        """Layers of the network and their parameters."""
        return summarize(self.config)

    def beside(self, shadow: CopiesRequests) -> Self:
        """Returns the same version for the requests to an alias with a shadow."""
        version = copy.copy(self)
        version.shadow = shadow
        return version

    def quiet(self) -> Self:
        """Returns the same version with metrics that are not written."""
        version = copy.copy(self)
        version.metrics = ModelMetrics(self.name, str(self.version), lambda _: None)
        return version

    def first_members(self, members: int) -> Self:
        """Returns this version, answered by the first `members` members of the ensemble alone.

        The result has a key of its own, so that its rows form batches of their own.

        Raises:
            InvalidRequest: the version has fewer members.
        """
        total = self.config.members
        if members > total:
            has = "is a single network" if total == 1 else f"has {total} members"
            raise InvalidRequest(f"members is {members}, and {self} {has}.")
        if members == total:
            return self
        version = copy.copy(self)
        version.key = key_of_members(self.key, members)
        version.shadow = None  # whose answer is that of all members
        return version

    def check_level(self, level: float, members: int | None) -> None:
        """Checks that the version has intervals or sets of a level.

        Args:
            level: level of the intervals or sets.
            members: number of members of an ensemble that answer; None for all.

        Raises:
            InvalidRequest: the version has no calibration rows, or does not support the level.
        """
        if members is not None and members != self.config.members:
            raise InvalidRequest(
                f"members is {members}, and the intervals of {self} are for the answers of all {self.config.members} "
                "members: leave members or intervals out."
            )
        try:
            threshold_of(self.conformal, level, str(self))
        except ConfigError as error:
            raise InvalidRequest(str(error)) from error

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"
