"""The reading of an ONNX file: bounded, checked, with external weights from the same folder only."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx

from conversion.importing.imported_model import ImportRefused

MOST_NODES = 20_000
_MOST_BYTES = 2**31 - 1  # of a protobuf message
_MOST_EXTERNAL_BYTES = 1 << 36


def read_model(source: Path | str | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """Reads and checks a model.

    Args:
        source: path of an ONNX file, its bytes, or the model itself, which stays as it is.

    Returns:
        The model, with the weights of other files inside and the calls of its functions written out.

    Raises:
        ImportRefused: The file cannot be read, is no ONNX model, or is not valid.
    """
    if isinstance(source, onnx.ModelProto):
        model, folder = onnx.ModelProto(), None
        model.CopyFrom(source)
    else:
        model = onnx.ModelProto()
        folder = None if isinstance(source, bytes) else Path(source).absolute().parent
        content = source if isinstance(source, bytes) else _content(Path(source))
        try:
            model.ParseFromString(content)
        except Exception:  # protobuf's DecodeError, which onnx does not export
            raise ImportRefused(f"{_called(source)} is not an ONNX file: it cannot be decoded.") from None
    if not model.graph.node and not model.graph.output:
        raise ImportRefused(f"{_called(source)} is not an ONNX file: it has no graph.")
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load_external(tensor, folder)
    _check(model, _called(source))
    return _without_functions(model)


def _called(source: Path | str | bytes | onnx.ModelProto) -> str:
    return str(source) if isinstance(source, Path | str) else "the model"


def _content(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ImportRefused(f"{path} is not a regular file.")
            if status.st_size > _MOST_BYTES:
                raise ImportRefused(
                    f"{path} has {status.st_size:,} bytes, and an ONNX file may have {_MOST_BYTES:,}: save the weights "
                    "as external data beside it."
                )
            return file.read()
    except OSError as error:
        raise ImportRefused(f"{path} cannot be read: {error.strerror}.") from None


def _check(model: onnx.ModelProto, called: str) -> None:
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        reason = " ".join(str(error).split())
        raise ImportRefused(f"{called} is not a valid ONNX model: {reason:.400}") from None
    except ValueError as error:  # larger than a message can be, with the external weights inside
        raise ImportRefused(f"{called} cannot be checked: {error!s:.200}") from None
    if len(model.graph.node) > MOST_NODES:
        raise ImportRefused(f"{called} has {len(model.graph.node):,} nodes; Axon reads up to {MOST_NODES:,}.")


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _load_external(tensor: onnx.TensorProto, folder: Path | None) -> None:
    """Reads the bytes of a tensor from a file in the folder of the model.

    Raises:
        ImportRefused: The file is elsewhere, is not a regular file, or is too short.
    """
    entries: Mapping[str, str] = {entry.key: entry.value for entry in tensor.external_data}
    name = entries.get("location", "")
    what = f"tensor {tensor.name!r:.120}"
    if folder is None:
        raise ImportRefused(f"{what} is in another file: give the path of the .onnx file instead of its content.")
    path = folder / name
    if not name or Path(name).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise ImportRefused(f"{what} is in {name!r:.200}, outside the folder of the .onnx file; nothing else is read.")
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", "-1"))
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            length = status.st_size - offset if length < 0 else length
            if not stat.S_ISREG(status.st_mode) or not 0 <= offset <= offset + length <= status.st_size:
                raise ImportRefused(f"{what} should be in {path}, which does not have its bytes.")
            if length > _MOST_EXTERNAL_BYTES:
                raise ImportRefused(f"{what} has {length:,} bytes.")
            file.seek(offset)
            tensor.raw_data = file.read(length)
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{what} cannot be read from {path}: {error}.") from None
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _without_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns the model with the bodies of its functions in place of their calls.

    Raises:
        ImportRefused: The bodies would make too many nodes, or a function calls itself.
    """
    if not model.functions:
        return model
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], path: tuple[tuple[str, str], ...]) -> int:
        if key in path or len(path) > 50:
            raise ImportRefused(f"the function {key[1]!r:.120} calls itself, or is nested too deeply.")
        if key not in sizes:
            called = ((node.domain, node.op_type) for node in bodies[key])
            sizes[key] = sum(size(one, (*path, key)) if one in bodies else 1 for one in called)
        return sizes[key]

    called = ((node.domain, node.op_type) for node in model.graph.node)
    nodes = sum(size(one, ()) if one in bodies else 1 for one in called)
    if nodes > MOST_NODES:
        raise ImportRefused(f"the functions of the model make {nodes:,} nodes; Axon reads up to {MOST_NODES:,}.")
    from onnx import inliner

    return inliner.inline_local_functions(model)
