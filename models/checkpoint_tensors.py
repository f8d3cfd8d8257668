"""The tensors of a checkpoint's file, read one at a time, so that a large file is never in memory as a whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import orjson
from numpy.typing import NDArray

from models.checkpoint import open_file, read_open_header
from models.errors import CheckpointError
from models.network.architecture import Architecture

_LENGTH = struct.Struct("<Q")


def read_tensors(path: Path, architecture: Architecture, digest: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yields the tensors of a checkpoint with their names, in the order of the architecture.

    The digest in the header is compared, but not computed again from the tensors.

    Args:
        path: path of the checkpoint.
        architecture: architecture of the checkpoint.
        digest: digest that the checkpoint's header has to have, `sha256:…`.

    Raises:
        CheckpointError: the file cannot be read, is another checkpoint, or does not fit the architecture.
    """
    try:
        with open_file(path) as file:
            if read_open_header(path, file)["digest"] != digest:
                raise CheckpointError(path, "is not the checkpoint that was read before.")
            begin, places = _places(file)
            for name, shape in architecture.tensor_shapes().items():
                yield name, _tensor(path, file, begin, places.get(name), shape)
    except OSError as error:
        raise CheckpointError(path, f"cannot be read: {error.strerror}.") from error


def _places(file: BinaryIO) -> tuple[int, Mapping[str, object]]:
    """Returns the position of the first tensor, and the entries of safetensors' own header, which was checked."""
    file.seek(0)
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    places: Mapping[str, object] = orjson.loads(file.read(length))
    return _LENGTH.size + length, places


def _tensor(path: Path, file: BinaryIO, begin: int, place: object, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Reads one tensor."""
    size = 4 * int(np.prod(shape))
    if not isinstance(place, dict) or place.get("dtype") != "F32" or place.get("shape") != list(shape):
        raise CheckpointError(path, "is inconsistent: a tensor does not fit the architecture.")
    offsets = place.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or type(offsets[0]) is not int:
        raise CheckpointError(path, "is inconsistent: a tensor has no place in the file.")
    file.seek(begin + offsets[0])
    content = file.read(size)
    if len(content) != size:
        raise CheckpointError(path, "is truncated or damaged.")
    return np.frombuffer(content, dtype="<f4").reshape(shape)
