"""The export of a loaded or trained model: the function behind `Model.export`."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from axon.own_packages import check_own_packages
from models.checkpoint import Checkpoint
from models.installation import missing_part, version
from models.model_version import ModelVersion
from models.store_entry import Reference


def export(
    checkpoint: Checkpoint,
    reference: str,
    published: ModelVersion | None,
    path: Path | str | None,
    to: str | None,
    *,
    force: bool,
    matrix: bool,
) -> tuple[Path, ...]:
    """Writes a model in another form, and returns the paths of the files.

    Args:
        checkpoint: checkpoint of the model.
        reference: name of the model, with the version of a published one.
        published: published version; None for a model that is not published.
        path: path of the file, or of the folder for it; the working folder if None.
        to: form of the export; None for ONNX if the path ends with .onnx.
        force: True to overwrite files that exist.
        matrix: True for an ONNX graph with one input for all columns.

    Raises:
        ExportError: The path does not suit the form, a file exists, or it cannot be written.
        ModuleNotFoundError: ONNX is not installed.
    """
    check_own_packages("conversion")
    try:
        from conversion.exporting.errors import ExportError
        from conversion.exporting.export import FORMS, Form, export_model
        from conversion.exporting.source_model import SourceModel

        out = None if path is None else Path(path)
        if to is None and (out is None or out.suffix != ".onnx"):
            raise ExportError(f"say to={' or to='.join(map(repr, FORMS))}; without that, the path ends with .onnx.")
        parsed = Reference.parse(reference)
        source = SourceModel(
            checkpoint=checkpoint,
            name=parsed.name,
            axon_version=version(),
            version=parsed.version,
            digest=None if published is None else published.read_header()["digest"],
        )
        return export_model(source, cast(Form, to or "onnx"), out, overwrite=force, matrix=matrix)
    except ModuleNotFoundError as missing:
        part = "conversion" if missing.name == "conversion" else "onnx"
        if (sentence := missing_part(part, missing)) is None:
            raise
        raise ModuleNotFoundError(sentence, name=missing.name) from missing
