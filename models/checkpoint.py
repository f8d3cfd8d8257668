"""A checkpoint: one trained model in one safetensors file, with everything that serving it takes.

The file's single metadata key `axon` holds one canonical JSON text, the header: format version, architecture,
columns and target with their statistics, how it was trained, its metrics and the fingerprint of its data. (One key,
since safetensors writes several in a random order, and the same model should give the same bytes.) The header
carries a SHA-256 over itself and every tensor, so that a file that was altered anywhere is found out. Nothing in it
is ever executed, and pickle is not involved. `docs/checkpoint-format.md` specifies it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import secrets
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import orjson
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from models.columns.schema import ClassTarget, NumericTarget, Schema
from models.errors import AxonError, CheckpointError, ConfigError
from models.json_parts import canonical_json, loads_in_parts
from models.network.config import MLPConfig, check_tensors
from models.network.fuse import InferenceNetwork, fuse

FORMAT = "axon.checkpoint"
FORMAT_VERSION = 2  # 2 brought inputs, members, temperature and new kinds of columns; what 1 could say it says alike
METADATA_KEY = "axon"

_LENGTH = struct.Struct("<Q")  # safetensors' own prefix: the length of its JSON header
_MAX_HEADER_BYTES = 100_000_000  # safetensors' own limit
_MAX_REASON = 500  # characters of a reason that may repeat what a file holds
_SECTIONS = ("training", "metrics", "data")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One trained model.

    Attributes:
        config: the architecture.
        schema: feature columns and target. The network's input is the encoded, standardised row.
        tensors: parameters and buffers by name, float32, shaped as `config.tensor_shapes()` says.
        training: engine, hyperparameters, seed, epochs: JSON types only.
        metrics: figures by part (`validation`, `test`).
        data: where the rows came from: name, SHA-256 fingerprint, counts.

    Raises:
        ConfigError: architecture, schema and tensors do not fit each other, or a tensor is not finite.
    """

    config: MLPConfig
    schema: Schema
    tensors: Mapping[str, NDArray[np.float32]]
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

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
            told_apart = self.config.n_classes or "none"
            raise ConfigError(f"the target has {n_classes or 'no'} classes, the network tells {told_apart} apart.")
        if n_classes is None and self.config.out_features != 1:
            raise ConfigError(f"one target column needs one output, the network has {self.config.out_features}.")

    def _check_inputs(self) -> None:
        """An index that the network does not look up, or looks up in another table, would be an answer to nothing."""
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
        """The header as JSON types, without the digest."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "architecture": self.config.to_dict(),
            **self.schema.to_dict(),
            **{section: dict(getattr(self, section)) for section in _SECTIONS},
        }

    def inference_network(self) -> InferenceNetwork:
        """The network that answers requests: encoded rows in, probabilities or values out.

        Its `answer` gives values in the target's unit, its `forward` values less the target's origin.

        Raises:
            ConfigError: folded weights that float32 does not hold; sound tensors and statistics may multiply to such.
        """
        mean, std = self.schema.standardisation()
        target = self.schema.target
        output = (target.mean, target.std) if isinstance(target, NumericTarget) else (0.0, 1.0)
        return fuse(
            self.config,
            self.tensors,
            input_mean=mean,
            input_std=std,
            output_mean=output[0],
            output_std=output[1],
            output_range=(target.minimum, target.maximum) if isinstance(target, NumericTarget) else None,
            output_origin=target.origin if isinstance(target, NumericTarget) else 0.0,
        )


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> str:
    """Writes the checkpoint to `path`: to a temporary name beside it, flushed to the disk, then renamed.

    A reader sees the old file or the whole new one. The same checkpoint gives the same bytes.

    Returns:
        The digest, `sha256:…`.

    Raises:
        CheckpointError: the header holds something that JSON cannot, or the disk refuses.
    """
    tensors = {name: np.ascontiguousarray(checkpoint.tensors[name], dtype="<f4") for name in sorted(checkpoint.tensors)}
    try:
        # Through JSON and back: a key that is a number sorts as one, but is read again, and sorted, as text.
        header = json.loads(_canonical(checkpoint.header()))
        digest = _digest(header, tensors)
        text = _canonical(header | {"digest": digest})
    except (TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(path, f"cannot be written: the header is not JSON: {error}.") from error
    payload = safetensors.numpy.save(tensors, metadata={METADATA_KEY: text})
    if _LENGTH.unpack_from(payload)[0] > _MAX_HEADER_BYTES:
        raise CheckpointError(path, f"cannot be written: a header may have {_MAX_HEADER_BYTES:,} bytes, and no more.")
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise CheckpointError(path, f"cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):  # it is gone where all went well, and may never have been
            temporary.unlink()
    return digest


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A checkpoint that was found sound.

    Attributes:
        checkpoint: the model.
        digest: the digest that the file was checked against.
        payload: the bytes of the file, as they were checked.
    """

    checkpoint: Checkpoint
    digest: str
    payload: bytes


def load_checkpoint(path: Path) -> LoadedCheckpoint:
    """Reads and verifies a checkpoint: its digest, its format version and every shape.

    Raises:
        CheckpointError: the file is missing, truncated, altered, foreign, of a newer format or inconsistent; the
            message names the file and the reason.
    """
    try:
        with open_file(path) as file:
            _, extent = _read_header(path, file)
            file.seek(0)
            # Not to its end: what goes on beyond its tensors is refused below, and may be as large as the disk.
            payload = file.read(min(extent, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error
    return parse_checkpoint(path, payload)


def parse_checkpoint(path: Path, payload: bytes) -> LoadedCheckpoint:
    """Verifies a checkpoint that was read already.

    Args:
        path: file that the bytes come from, for the error.
        payload: the whole file.

    Raises:
        CheckpointError: as `load_checkpoint` does.
    """
    header, _ = _read_header(path, io.BytesIO(payload))
    try:
        tensors = safetensors.numpy.load(payload)
    except KeyError as error:  # a type that NumPy has not
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
        checkpoint = Checkpoint(
            config=MLPConfig.from_dict(architecture),
            schema=Schema.from_dict(header),
            tensors=tensors,
            **{section: header.get(section, {}) for section in _SECTIONS},
        )
    except (AxonError, RecursionError) as error:
        raise CheckpointError(path, f"is inconsistent: {error!s:.{_MAX_REASON}}") from error
    return LoadedCheckpoint(checkpoint, expected, payload)


def read_header(path: Path) -> dict[str, Any]:
    """The header alone, without reading the tensors; not verified against the digest that it holds.

    Raises:
        CheckpointError: no readable Axon header.
    """
    try:
        with open_file(path) as file:
            return _read_header(path, file)[0]
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error


def open_file(path: Path) -> BinaryIO:
    """Opens a regular file for reading.

    Raises:
        OSError: it cannot be opened, or is something else. A named pipe in its place would be waited for without end,
            and a device has no end.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "rb")


def sync_folder(folder: Path) -> None:
    """Flushes a folder's entries to the disk, so that a rename survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_header(path: Path, file: BinaryIO) -> tuple[dict[str, Any], int]:
    """The header, and the bytes that the file has if its tensors are where safetensors' own header says."""
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
        outer = orjson.loads(raw)  # a long text in it, which json takes five times as long for
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
    except (ValueError, RecursionError):  # NaN, which Python's parser takes; nesting as deep as it takes
        canonical = False
    if not canonical:
        raise CheckpointError(path, "was altered after it was written: its header is not in canonical form.")
    ends = [entry["data_offsets"][-1] for name, entry in outer.items() if name != "__metadata__" and _has_place(entry)]
    return header, _LENGTH.size + length + max(ends, default=0)


def _parsed(text: str) -> Any:
    try:
        return loads_in_parts(text)
    except ValueError:  # not the form in which it was written; where it is JSON all the same, that is said below
        return json.loads(text)


def _has_place(entry: object) -> bool:
    """Whether a tensor's entry says where it is; safetensors refuses one that does not."""
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and bool(offsets) and type(offsets[-1]) is int and 0 <= offsets[-1] < 1 << 48


def _canonical(value: Mapping[str, Any]) -> str:
    """One text for one value: keys sorted, no spaces, ASCII, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 over the canonical header and each tensor's name, type, shape and bytes, in the order of the names."""
    sha = hashlib.sha256(_canonical(header).encode())
    for name in sorted(tensors):
        tensor = np.ascontiguousarray(tensors[name])
        sha.update(f"\n{name} {tensor.dtype.str} {tensor.shape}\n".encode())
        sha.update(tensor.data)
    return f"sha256:{sha.hexdigest()}"
