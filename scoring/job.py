"""A bulk job: the files of a source, answered part by part with one model; a killed job goes on with the next part."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from models.columns.unknown_cells import unknown_in_words
from models.errors import ConfigError, DataError
from models.model_version import ModelVersion
from scoring.answer_columns import AnswerColumns, check_members
from scoring.answering import BatchAnswerer
from scoring.cells import wrong_type
from scoring.destination import Destination
from scoring.part import Part, PartWork
from scoring.pipeline import run_parts
from scoring.reading import check_columns, groups_of, opened
from scoring.shard import Shard
from scoring.source_files import SourceFile, files_of
from scoring.writing import OutForm, check_writable, plain_field

Errors = Literal["refuse", "skip", "null"]

PART_ROWS = 1_000_000
_MANIFEST_FORMAT = 2


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The settings of a job.

    Attributes:
        source: file, folder or pattern of the rows.
        out: folder of the answers, or a file with a suffix.
        form: format of the answers.
        keep: columns of the source that are written before the answers.
        errors: treatment of rows that do not fit: `refuse` ends the job, `skip` leaves them out, `null` answers them
            with nulls.
        prefix: beginning of the answers' names.
        members: number of members of an ensemble that answer, the first ones; None for all.
        intervals: level of intervals, or of sets of labels; None for answers without.
        part_rows: number of rows from which on a part is complete.
        shard: share of the parts that this process answers.
        device: name of the torch device, `cpu` or `cuda`.
        threads: number of threads that answer rows.
    """

    source: str
    out: Path
    form: OutForm
    keep: tuple[str, ...] = ()
    errors: Errors = "refuse"
    prefix: str = ""
    members: int | None = None
    intervals: float | None = None
    part_rows: int = PART_ROWS
    shard: Shard = field(default_factory=Shard)
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("part_rows", "threads"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if len(set(self.keep)) != len(self.keep):
            raise ConfigError(f"keep names a column twice: {', '.join(self.keep)}.")


@dataclass(kw_only=True)
class Progress:
    """The progress of a job, for a display.

    Attributes:
        rows: number of rows read in this run.
        bytes: number of bytes of the source that are done, about, with those of parts that were finished before.
        total_bytes: number of bytes of this shard's parts.
    """

    rows: int = 0
    bytes: float = 0
    total_bytes: int = 0


@dataclass(kw_only=True)
class Outcome:
    """The result of a job, or of a shard.

    Attributes:
        parts: number of parts of the shard.
        finished_before: number of the parts that an earlier run had finished.
        rows: number of rows of the shard's parts.
        answered: number of the rows with an answer.
        faulty: number of the rows without one.
        unknown: number of cells with a category unknown from training, by column.
        fault_files: lists of the rows without an answer, where there are any.
    """

    parts: int = 0
    finished_before: int = 0
    rows: int = 0
    answered: int = 0
    faulty: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    fault_files: list[Path] = field(default_factory=list)

    def add(self, record: Mapping[str, Any], faults: Path) -> None:
        """Counts a finished part."""
        self.parts += 1
        self.rows += record["rows"]
        self.answered += record["answered"]
        self.faulty += record["rows"] - record["answered"]
        for column, cells in record["unknown"].items():
            self.unknown[column] = self.unknown.get(column, 0) + cells
        if record["rows"] != record["answered"]:
            self.fault_files.append(faults)

    def remarks(self) -> list[str]:
        """Returns sentences for the user on rows and cells that were not as usual."""
        said = [unknown_in_words(column, cells) for column, cells in sorted(self.unknown.items())]
        if self.faulty:
            more = f" and {len(self.fault_files) - 1:,} more" if len(self.fault_files) > 1 else ""
            said.append(f"{self.faulty:,} rows have no answer: {self.fault_files[0]}{more} says which, and why.")
        return said


def score(version: ModelVersion, settings: JobSettings, *, moved: Callable[[Progress], None] | None = None) -> Outcome:
    """Answers the rows of a source.

    Args:
        version: version of the model in a store.
        settings: settings of the job.
        moved: function that shows the progress; None for none.

    Raises:
        DataError: the source cannot be read, does not fit the model, or is not the one that the destination was begun
            with; or the destination cannot be written.
        CheckpointError, ConfigError: the model cannot be read, or a setting does not suit it; the source is not read
            then.
    """
    loaded = version.load()
    check_members(loaded.checkpoint, settings.members, intervals=settings.intervals)
    columns = AnswerColumns(loaded.checkpoint, prefix=settings.prefix, intervals=settings.intervals)
    columns.check_free(settings.keep)
    destination = Destination(settings.out, settings.form)
    # A pattern may match the answers of an earlier run, or of a shard beside this one.
    files = files_of(settings.source, left_out=destination.owns)
    _check_apart(files, settings)
    if destination.is_file and settings.shard.count > 1:
        raise ConfigError(f"{settings.out} is one file, which shards cannot share: name a folder as --out.")
    parts = _parts(files, settings, whole=destination.is_file)
    answerer = BatchAnswerer(loaded.checkpoint, device=settings.device, members=settings.members)
    manifest = _manifest(version, loaded.digest, settings, files, parts)
    _check_manifest(destination.begin(manifest), manifest, settings.out)
    return _run(parts, answerer, columns, destination, settings, moved)


def _run(
    parts: Sequence[Part],
    answerer: BatchAnswerer,
    columns: AnswerColumns,
    destination: Destination,
    settings: JobSettings,
    moved: Callable[[Progress], None] | None,
) -> Outcome:
    """Answers the parts of the shard that are not finished."""
    outcome = Outcome()
    mine = [part for part in parts if settings.shard.has(part.number)]
    progress = Progress(total_bytes=sum(part.size for part in mine))
    work: list[Part] = []
    for part in mine:
        record = destination.record(part.number)
        if record is None:
            work.append(part)
            continue
        outcome.add(record, destination.faults(part.number))
        outcome.finished_before += 1
        progress.bytes += part.size
    for file in {piece.file.name: piece.file for part in work for piece in part.pieces}.values():
        _check_file(file, answerer, settings)
    context = PartWork(
        answerer=answerer,
        columns=columns,
        destination=destination,
        keep=settings.keep,
        errors=settings.errors,
        threads=settings.threads,
    )

    def show(rows: int, size: float) -> None:
        progress.rows += rows
        progress.bytes = min(progress.bytes + size, progress.total_bytes)
        if moved is not None:
            moved(progress)

    if moved is not None and work:
        moved(progress)
    for part, record in run_parts(work, context, show):
        outcome.add(record, destination.faults(part.number))
    return outcome


def _check_apart(files: Sequence[SourceFile], settings: JobSettings) -> None:
    """Refuses a destination among the files of the source, which the next run would take for rows."""
    out = settings.out.resolve()
    source = Path(settings.source)
    for file in files:
        path = file.path.resolve()
        if path == out or path.is_relative_to(out):
            raise DataError(f"{settings.out} holds {file.path}, which is to be scored: name another --out.")
    if source.is_dir() and out.is_relative_to(source.resolve()):
        raise DataError(f"{settings.out} lies in {source}, whose files are to be scored: name an --out elsewhere.")


def _parts(files: Sequence[SourceFile], settings: JobSettings, *, whole: bool) -> list[Part]:
    pieces = [(file, groups) for file in files for groups in groups_of(file, rows=settings.part_rows)]
    if whole:
        return [Part.of(0, pieces)]
    return [Part.of(number, [piece]) for number, piece in enumerate(pieces)]


def _check_file(file: SourceFile, answerer: BatchAnswerer, settings: JobSettings) -> None:
    """Refuses a file whose columns do not suit the model, before any row is read."""
    with opened(file, names=answerer.schema.names) as reader:
        present = reader.schema.names
        check_columns(file.name, present, answerer.schema.names, "which the model was trained with")
        check_columns(file.name, present, settings.keep, "which --keep names")
        check_writable(file.name, settings.form, [plain_field(reader.schema.field(name)) for name in settings.keep])
        if reader.has_text_numbers:
            return
        for column in answerer.schema.columns:
            if words := wrong_type(reader.schema.field(column.name).type, column):
                raise DataError(
                    f"{file.name}: column {column.name!r} {words}: write the file with the type that the model was "
                    "trained with."
                )


def _manifest(
    version: ModelVersion, digest: str, settings: JobSettings, files: Sequence[SourceFile], parts: Sequence[Part]
) -> dict[str, Any]:
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
        "sources": [[file.name, file.size, file.modified_ns] for file in files],
        "parts": len(parts),
        "parts_digest": hashlib.sha256(repr(listed).encode()).hexdigest(),
    }


def _check_manifest(found: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> None:
    """Refuses to go on with other settings, another model or another source.

    Raises:
        DataError: the destination was begun otherwise.
    """
    if found == wanted:
        return
    begun = f"{out} was begun with"
    remedy = "Name another --out, or delete this one to begin again."
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


def _said(value: object) -> str:
    if value is None:
        return "(none)"
    return ",".join(map(str, value)) or "(none)" if isinstance(value, list) else str(value) or "(none)"
