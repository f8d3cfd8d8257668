"""A checkpoint: one trained model in one safetensors file, with all that a server needs.

The file's single metadata key `axon` holds one canonical JSON text, the header: format version, architecture, columns
and target with their statistics, training settings, metrics and the fingerprint of the data. (There is one key, because
safetensors writes several keys in random order, and the same model should give the same bytes.) The header contains a
SHA-256 digest of itself and all tensors, so any change of the file is detected. Nothing in the file is ever executed,
and pickle is not used. `docs/checkpoint-format.md` specifies the format.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from models.columns.column import CategoricalColumn
from models.columns.schema import ClassTarget, NumericTarget, Schema, ValuesTarget
from models.conformal import Conformal, conformal_of
from models.distributions.distributions import Distributions
from models.errors import AxonError, CheckpointError, ConfigError
from models.json_parts import canonical_json, loads_in_parts
from models.network.architecture import Architecture, architecture_from_dict
from models.network.config import check_tensors
from models.network.fuse import fuse
from models.network.inference_network import InferenceNetwork
from models.network.sequence import SequenceConfig
from models.whole_file import write_whole

FORMAT = "axon.checkpoint"
# 2 added inputs, members, temperature and kinds of columns, and kept all fields of 1. 3 added what imported models
# need: sequences of layers, unknown ranges, and a category for missing values. 4 added weights of members and
# exponential outputs. 5 added several targets and logistic outputs. 6 added values that stand for missing ones. A model
# is written in the first version that has what the model needs, from 2 on.
FORMAT_VERSION = 6
METADATA_KEY = "axon"

_LENGTH = struct.Struct("<Q")  # safetensors' own prefix: the length of its JSON header
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_MAX_REASON = 500  # characters of a reason that may quote the content of a file
_SECTIONS = ("training", "metrics", "data")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One trained model.

    Attributes:
        config: architecture of the network.
        schema: feature columns and target. The network's input is the encoded, standardised row.
        tensors: parameters and buffers by name, float32, with the shapes of `config.tensor_shapes()`.
        training: engine, hyperparameters, seed and epochs, as JSON types.
        metrics: metrics by part of the data (`validation`, `test`), as JSON types.
        data: source of the rows: name, SHA-256 fingerprint and counts, as JSON types.
        distributions: distributions of columns and predictions in training; None if they are not known.
        conformal: scores of the calibration rows, for intervals and sets; None without such rows.

    Raises:
        ConfigError: Architecture, schema and tensors do not fit each other, or a tensor is not finite.
    """

    config: Architecture
    schema: Schema
    tensors: Mapping[str, NDArray[np.float32]]
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    distributions: Distributions | None = None
    conformal: Conformal | None = None

    def __post_init__(self) -> None:
        for section in _SECTIONS:
            if not isinstance(getattr(self, section), Mapping):
                raise ConfigError(f"{section} must be an object, got {type(getattr(self, section)).__name__}.")
        check_tensors(self.config, {name: tensor.shape for name, tensor in self.tensors.items()})
        for name, tensor in self.tensors.items():
            if tensor.dtype != np.float32:
                raise ConfigError(f"tensor {name} is {tensor.dtype}, not float32.")
            if not np.isfinite(tensor).all():
                raise ConfigError(f"tensor {name} holds a value that is not finite.")
        if self.schema.width != self.config.in_features:
            raise ConfigError(
                f"the columns encode to {self.schema.width} features, the network takes {self.config.in_features}."
            )
        self._check_inputs()
        target = self.schema.target
        n_classes = len(target.labels) if isinstance(target, ClassTarget) else None
        if n_classes != self.config.n_classes:
            known = self.config.n_classes or "none"
            raise ConfigError(f"the target has {n_classes or 'no'} classes, the network tells {known} apart.")
        if n_classes is None and self.config.out_features != len(self.schema.values):
            raise ConfigError(
                f"{len(self.schema.values)} target column(s) need as many outputs, the network has "
                f"{self.config.out_features}."
            )

    def _check_inputs(self) -> None:
        """Checks the network's inputs against the schema: kind of each feature, number of categories of each index."""
        inputs = self.config.inputs
        for at, feature in enumerate(self.schema.features):
            kinds = {"number": inputs.numbers, "flag": inputs.flags, "index": inputs.indices} if inputs else {}
            if feature.kind == "index" and inputs is None:
                raise ConfigError(
                    f"column {feature.column!r} is an index, and the network has no inputs to look it up."
                )
            if inputs is not None and at not in kinds[feature.kind]:
                raise ConfigError(f"feature {at} of a row is of kind {feature.kind}, but not to the network's inputs.")
            if inputs is not None and feature.kind == "index":
                known = inputs.categories[inputs.indices.index(at)]
                if known != feature.categories:
                    raise ConfigError(
                        f"column {feature.column!r} has {feature.categories} categories, its table is for {known}."
                    )

    def header(self) -> dict[str, Any]:
        """Returns the header as JSON types, without the digest."""
        header = {
            "format": FORMAT,
            "format_version": self._first_version(),
            "architecture": self.config.to_dict(),
            **self.schema.to_dict(),
            **{section: dict(getattr(self, section)) for section in _SECTIONS},
        }
        if self.distributions is not None:
            header["distributions"] = self.distributions.to_dict()
        if self.conformal is not None:
            header["conformal"] = self.conformal.to_dict()
        return header

    def _first_version(self) -> int:
        """Returns the first version of the format, from 2 on, whose readers can read the model."""
        if any(column.gaps for column in self.schema.columns):
            return 6
        if isinstance(self.schema.target, ValuesTarget) or self.config.output == "logistic":
            return 5
        if self.config.output == "exponential" or self.config.member_weights is not None:
            return 4
        return 3 if self._needs_version_3() else 2

    def _needs_version_3(self) -> bool:
        """Returns True if a reader of the format's version 2 could not read the model."""
        if isinstance(self.config, SequenceConfig) or any(target.minimum is None for target in self.schema.values):
            return True
        return any(
            column.fill is not None if isinstance(column, CategoricalColumn) else column.minimum is None
            for column in self.schema.columns
        )

    def inference_network(self) -> InferenceNetwork:
        """Builds the network that answers requests: encoded rows in, probabilities or values out.

        The network's `answer` returns values in the target's unit, its `forward` values minus the target's origin.

        Raises:
            ConfigError: Folded weights are too large for float32, which sound tensors and statistics can cause.
        """
        mean, std = self.schema.standardisation()
        values = self.schema.values
        return fuse(
            self.config,
            self.tensors,
            input_mean=mean,
            input_std=std,
            output_mean=[target.mean for target in values] if values else 0.0,
            output_std=[target.std for target in values] if values else 1.0,
            output_range=_range_of(values),
            output_origin=self.schema.origin,
        )


def _range_of(values: Sequence[NumericTarget]) -> tuple[list[float], list[float]] | None:
    least = [target.minimum for target in values if target.minimum is not None]
    most = [target.maximum for target in values if target.maximum is not None]
    return (least, most) if values and len(least) == len(most) == len(values) else None


def pack_checkpoint(checkpoint: Checkpoint, path: Path | str) -> tuple[bytes, str]:
    """Returns the bytes of a checkpoint's file, and its digest, `sha256:…`. The same checkpoint gives the same bytes.

    Args:
        checkpoint: checkpoint to write.
        path: place of the file, for error messages.

    Raises:
        CheckpointError: The header cannot be written as JSON.
    """
    tensors = {name: np.ascontiguousarray(checkpoint.tensors[name], dtype="<f4") for name in sorted(checkpoint.tensors)}
    try:
        # To JSON and back: a key that is a number is sorted as a number at first, but read and sorted as text later.
        header = json.loads(_canonical(checkpoint.header()))
        digest = _digest(header, tensors)
        text = _canonical(header | {"digest": digest})
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(path, f"cannot be written: the header is not JSON: {error}.") from error
    payload = safetensors.numpy.save(tensors, metadata={METADATA_KEY: text})
    if _LENGTH.unpack_from(payload)[0] > _MAX_HEADER_BYTES:
        raise CheckpointError(path, f"cannot be written: a header may have {_MAX_HEADER_BYTES:,} bytes, and no more.")
    return payload, digest


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> str:
    """Writes the checkpoint to `path` atomically: to a temporary file, flushed to the disk and then renamed.

    A reader sees the old file or the whole new file. The same checkpoint gives the same bytes.

    Returns:
        Digest of the checkpoint, `sha256:…`.

    Raises:
        CheckpointError: The header cannot be written as JSON, or the disk refuses the write.
    """
    payload, digest = pack_checkpoint(checkpoint, path)
    try:
        write_whole(path, payload)
    except OSError as error:
        raise CheckpointError(path, f"cannot be written: {error.strerror}.") from error
    return digest


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A verified checkpoint.

    Attributes:
        checkpoint: content of the file.
        digest: digest in the file's header, which the content matches.
        payload: verified bytes of the file.
    """

    checkpoint: Checkpoint
    digest: str
    payload: bytes


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Reads and verifies a checkpoint: its digest, its format version and every shape.

    Raises:
        CheckpointError: The file is missing, truncated, altered, not from Axon, of a newer format or inconsistent; the
            message names the file and the reason.
    """
    return parse_checkpoint(path, read_payload(path))


def read_payload(path: Path) -> bytes:
    """Reads the bytes of a checkpoint without verifying the digest. Of data after the tensors, one byte is read.

    Raises:
        CheckpointError: The file has no readable Axon header.
    """
    try:
        with open_file(path) as file:
            _, extent = _read_header(path, file)
            file.seek(0)
            # Not to the end of the file: data after the tensors is refused later, and may be as large as the disk.
            return file.read(min(extent, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error


def parse_checkpoint(path: Path, payload: bytes) -> LoadedCheckpoint:
    """Verifies a checkpoint that was read already.

    Args:
        path: path of the file, for error messages.
        payload: bytes of the whole file.

    Raises:
        CheckpointError: The same cases as in `load_checkpoint`.
    """
    header, _ = _read_header(path, io.BytesIO(payload))
    try:
        tensors = safetensors.numpy.load(payload)
    except KeyError as error:  # an element type that NumPy does not have
        raise CheckpointError(path, f"is inconsistent: it holds a tensor of type {error}, not F32.") from error
    except (SafetensorError, ValueError, TypeError) as error:
        raise CheckpointError(path, f"is truncated or damaged: {error!s:.{_MAX_REASON}}.") from error
    expected = header.pop("digest")
    if _digest(header, tensors) != expected:
        raise CheckpointError(path, "was altered after it was written: its SHA-256 digest does not match.")
    architecture = header.get("architecture")
    if not isinstance(architecture, dict):
        raise CheckpointError(path, "is inconsistent: its header has no architecture.")
    try:
        schema = Schema.from_dict(header)
        checkpoint = Checkpoint(
            config=architecture_from_dict(architecture),
            schema=schema,
            tensors=tensors,
            distributions=distributions_of(header, schema),
            conformal=conformal_of(header, schema),
            **{section: header.get(section, {}) for section in _SECTIONS},
        )
    except (AxonError, RecursionError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(path, f"is inconsistent: {error!s:.{_MAX_REASON}}") from error
    return LoadedCheckpoint(checkpoint, expected, payload)


def distributions_of(header: Mapping[str, Any], schema: Schema) -> Distributions | None:
    """Returns the distributions in a header, None for a header without that section.

    Raises:
        DataError: the section is damaged, or does not fit the schema.
    """
    raw = header.get("distributions")
    return None if raw is None else Distributions.from_dict(raw, schema)


def read_header(path: Path) -> dict[str, Any]:
    """Reads the header alone, without the tensors and without verifying the digest.

    Raises:
        CheckpointError: The file has no readable Axon header.
    """
    try:
        with open_file(path) as file:
            return _read_header(path, file)[0]
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error


def read_open_header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """Reads the header of an open file from its beginning, as `read_header` does.

    Raises:
        CheckpointError: The file has no readable Axon header.
        OSError: The disk refuses the reading.
    """
    return _read_header(path, file)[0]


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        OSError: The file cannot be opened, or is not a regular file. (A read would wait for a named pipe for ever, and
            a device has no end.)
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Returns the header, and the size in bytes that the file should have according to safetensors' own header."""
    prefix = file.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise CheckpointError(path, "is empty or truncated.")
    (length,) = _LENGTH.unpack(prefix)
    if length > _MAX_HEADER_BYTES:
        raise CheckpointError(path, "is not a safetensors file.")
    raw = file.read(length)
    if len(raw) < length:
        raise CheckpointError(path, "is truncated, or not a safetensors file.")
    try:
        outer = orjson.loads(raw)  # not `json`, which takes five times as long for the long text inside
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, "is not a safetensors file.") from error
    metadata = outer.get("__metadata__") if isinstance(outer, dict) else None
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise CheckpointError(path, "is a safetensors file, but not one that Axon wrote.")
    try:
        header = _parsed(text)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, "has a damaged header.") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise CheckpointError(path, "is a safetensors file, but not one that Axon wrote.")
    version = header.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(path, "has no readable format version.")
    if version > FORMAT_VERSION:
        newer = f"has format version {version!s:.20}, and this Axon reads up to {FORMAT_VERSION}"
        raise CheckpointError(path, f"{newer}: upgrade Axon to read it.")
    digest = header.get("digest")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise CheckpointError(path, "has no readable digest in its header.")
    try:
        canonical = text == canonical_json(header)
    except (ValueError, RecursionError):  # Python's parser accepts NaN, and nesting that is too deep to write
        canonical = False
    if not canonical:
        raise CheckpointError(path, "was altered after it was written: its header is not in canonical form.")
    ends = [entry["data_offsets"][-1] for name, entry in outer.items() if name != "__metadata__" and _has_place(entry)]
    return header, _LENGTH.size + length + max(ends, default=0)


def _parsed(text: str) -> Any:
    try:
        return loads_in_parts(text)
    except ValueError:  # not in Axon's form; if the text is JSON, the caller reports that it is not canonical
        return json.loads(text)


def _has_place(entry: object) -> bool:
    """Returns True if a tensor's entry has a place in the file; safetensors refuses an entry without."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and bool(offsets) and type(offsets[-1]) is int and 0 <= offsets[-1] < 1 << 48


def _canonical(value: Mapping[str, Any]) -> str:
    """Writes the canonical JSON text of a value: keys sorted, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """Computes SHA-256 over the canonical header and each tensor's name, type, shape and bytes, sorted by name."""
    sha = hashlib.sha256(_canonical(header).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        sha.update(tensor.data)
    return f"sha256:{sha.hexdigest()}"
