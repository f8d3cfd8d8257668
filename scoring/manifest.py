"""The manifest of a job: the model, the source and the options that the answers are of."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from models.errors import DataError
from models.model_version import ModelVersion
from scoring.destination import Destination
from scoring.job_settings import JobSettings
from scoring.part import Part
from scoring.source_file import SourceFile

_MANIFEST_FORMAT = 2


def manifest_of(
    version: ModelVersion, digest: str, settings: JobSettings, files: Sequence[SourceFile], parts: Sequence[Part]
) -> dict[str, Any]:
    """Returns the manifest of a job.

    Args:
        version: version of the model.
        digest: digest of the model.
        settings: settings of the job.
        files: files of the source.
        parts: parts of the job.
    """
    listed = [[part.number, *([piece.file.name, *piece.groups] for piece in part.pieces)] for part in parts]
    return {
        "axon_score": _MANIFEST_FORMAT,
        "model": str(version),
        "model_digest": digest,
        "members": settings.members,
        "intervals": settings.intervals,
        "keep": list(settings.keep),
        "errors": settings.errors,
        "prefix": settings.prefix,
        "format": settings.form,
        "part_rows": settings.part_rows,
        "sources": [[file.name, *file.identity()] for file in files],
        "parts": len(parts),
        "parts_digest": hashlib.sha256(repr(listed).encode()).hexdigest(),
    }


def check_manifest(found: Mapping[str, Any], wanted: Mapping[str, Any], destination: Destination) -> None:
    """Refuses to go on with other settings, another model or another source.

    Args:
        found: manifest that is there.
        wanted: manifest of this job.
        destination: destination of the job.

    Raises:
        DataError: the destination was begun otherwise.
    """
    if found == wanted:
        return
    out = destination.address
    begun = f"{out} was begun with"
    remedy = f"Name another --out, or delete {_all_of(destination)} to begin again."
    if found.get("axon_score") != wanted["axon_score"]:
        raise DataError(f"{begun} another version of Axon. {remedy}")
    if found["model"] != wanted["model"]:
        raise DataError(f"{begun} {found['model']}, and the model is {wanted['model']} now. {remedy}")
    if found["model_digest"] != wanted["model_digest"]:
        raise DataError(f"{begun} another file of {found['model']}: the version was replaced in the store. {remedy}")
    for name in ("members", "intervals", "keep", "errors", "prefix", "format", "part_rows"):
        if found[name] != wanted[name]:
            option = f"--{name.replace('_', '-')}"
            raise DataError(f"{begun} {option} {_said(found[name])}, not {_said(wanted[name])}. {remedy}")
    before = {name: identity for name, *identity in found["sources"]}
    now = {name: identity for name, *identity in wanted["sources"]}
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            what = "is new" if name not in before else "is gone" if name not in now else "has changed"
            raise DataError(f"the source's file {name} {what} since {out} was begun. {remedy}")
    raise DataError(f"{begun} other parts. {remedy}")


def _all_of(destination: Destination) -> str:
    """Returns words for all that a job wrote: beside a single file there is a folder."""
    if destination.is_file:
        return f"the file and the folder {destination.state_address}"
    return "this one"


def _said(value: object) -> str:
    if value is None:
        return "(none)"
    return ",".join(map(str, value)) or "(none)" if isinstance(value, list) else str(value) or "(none)"
