"""The export of a model to files: the form, the names of the files, and their atomic writing."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from conversion.exporting.errors import ExportError
from conversion.exporting.source_model import SourceModel
from models.whole_file import write_whole_together

Form = Literal["onnx", "torch", "numpy"]
FORMS: tuple[Form, ...] = get_args(Form)
_SUFFIXES: Mapping[Form, str] = {"onnx": ".onnx", "torch": ".py", "numpy": ".py"}
# A file of one of these names would hide the module that it imports itself.
_OTHERS = frozenset({"numpy", "torch", *sys.stdlib_module_names})


def export_model(
    model: SourceModel, form: Form, out: Path | None = None, *, overwrite: bool = False, matrix: bool = False
) -> tuple[Path, ...]:
    """Writes a model in another form.

    Args:
        model: model to export.
        form: `onnx`, `torch` (a .py and a .safetensors file) or `numpy`.
        out: path of the file, or of the folder for the file; the working folder if None.
        overwrite: True to replace files that exist.
        matrix: True for an ONNX graph with one input for all columns, which have to be numbers.

    Returns:
        Paths of the written files.

    Raises:
        ExportError: The form is unknown, the path or a matrix does not suit it, a file exists, or it cannot be written.
        ConfigError: The network is too large for the form.
        ModuleNotFoundError: The form needs a library that is not installed.
    """
    if form not in FORMS:
        raise ExportError(f"a model goes out as {', '.join(FORMS)}, got {form!r}.")
    if matrix and form != "onnx":
        raise ExportError(f"a matrix is an input of ONNX graphs; {form} takes rows in every form: leave --matrix out.")
    path = _path_of(model, form, out)
    paths = (path.with_suffix(".safetensors"), path) if form == "torch" else (path,)
    for one in paths:
        if one.is_dir():
            raise ExportError(f"{one} is a folder: choose another name.")
        if not overwrite and os.path.lexists(one):
            raise ExportError(f"{one} exists: overwrite it (--force, or force=True in Python), or choose another path.")
    contents = _contents(model, form, path.stem, matrix=matrix)
    try:
        write_whole_together(dict(zip(paths, contents, strict=True)))
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}.") from error
    return paths[::-1]


def _path_of(model: SourceModel, form: Form, out: Path | None) -> Path:
    suffix = _SUFFIXES[form]
    folder = Path() if out is None else out
    if folder.is_dir():
        return folder / f"{_module_name(model.name) if suffix == '.py' else model.name}{suffix}"
    if folder.suffix != suffix:
        raise ExportError(f"{folder} is neither a folder nor a name that ends with {suffix}, as {form} needs.")
    if not folder.parent.is_dir():
        raise ExportError(f"there is no folder {folder.parent}: create it first.")
    if suffix == ".py" and _module_name(folder.stem) != folder.stem:
        raise ExportError(
            f"{folder.stem!r} is no name for a module of your own: choose {_module_name(folder.stem)}.py, for example."
        )
    return folder


def _module_name(name: str) -> str:
    """Returns a name of a Python module that can be imported, and that is not a module of others."""
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"model_{name}" if name in _OTHERS or not name.isidentifier() else name


def _contents(model: SourceModel, form: Form, module: str, *, matrix: bool) -> tuple[bytes, ...]:
    # Imported here: ONNX is an extra, and each form needs its own modules only.
    if form == "onnx":
        from conversion.exporting.onnx_file import onnx_bytes

        return (onnx_bytes(model, matrix=matrix),)
    if form == "torch":
        from conversion.exporting.torch_file import torch_source, torch_tensors

        return torch_tensors(model), torch_source(model, module).encode()
    from conversion.exporting.numpy_file import numpy_source

    return (numpy_source(model, module).encode(),)
