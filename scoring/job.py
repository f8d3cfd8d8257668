"""A bulk job: the files of a source, answered part by part with one model; a killed job goes on with the next part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from models.columns.unknown_cells import unknown_in_words
from models.errors import ConfigError, DataError
from models.model_version import ModelVersion
from scoring.answer_columns import AnswerColumns, check_members
from scoring.answering import BatchAnswerer
from scoring.cells import wrong_type
from scoring.destination import Destination, is_inside
from scoring.job_settings import JobSettings
from scoring.manifest import check_manifest, manifest_of
from scoring.open_destination import open_destination
from scoring.part import Part, PartWork
from scoring.pipeline import run_parts
from scoring.reading import check_columns, groups_of, opened
from scoring.source_file import SourceFile
from scoring.source_files import files_of, folder_of
from scoring.writing import check_writable, plain_field

Result = TypeVar("Result")


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
        fault_files: paths or URLs of the lists of rows without an answer, where there are any.
        parts_left: number of the job's parts, of other shards, that are not finished.
    """

    parts: int = 0
    finished_before: int = 0
    rows: int = 0
    answered: int = 0
    faulty: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    fault_files: list[str] = field(default_factory=list)
    parts_left: int = 0

    def add(self, record: Mapping[str, Any], faults: str) -> None:
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
    destination = open_destination(settings.out, settings.form)
    # A pattern may match the answers of an earlier run, or of a shard beside this one.
    files = files_of(settings.source, left_out=destination.owns)
    _check_apart(files, settings, destination)
    if destination.is_file and settings.shard.count > 1:
        raise ConfigError(f"{destination.address} is one file, which shards cannot share: name a folder as --out.")
    parts = _parts(files, settings, whole=destination.is_file)
    answerer = BatchAnswerer(loaded.checkpoint, device=settings.device, members=settings.members)
    manifest = manifest_of(version, loaded.digest, settings, files, parts)
    check_manifest(destination.begin(manifest), manifest, destination)
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
    found = destination.records([part.number for part in mine])
    for part in mine:
        record = found.get(part.number)
        if record is None:
            work.append(part)
            continue
        outcome.add(record, destination.faults_address(part.number))
        outcome.finished_before += 1
        progress.bytes += part.size
    _for_each(
        list({piece.file.name: piece.file for part in work for piece in part.pieces}.values()),
        lambda file: _check_file(file, answerer, settings),
    )
    if work:
        destination.complete(None)
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
        outcome.add(record, destination.faults_address(part.number))
    outcome.parts_left = _complete(destination, {part.number for part in parts}, {part.number for part in mine})
    return outcome


def _complete(destination: Destination, numbers: set[int], mine: set[int]) -> int:
    """Writes that the job is complete if all parts are finished; returns the number of parts that are not."""
    others = numbers - mine
    left = len(others) - len(destination.finished(others)) if others else 0
    if left:
        return left
    records = destination.records(numbers)
    left = len(numbers) - len(records)
    if not left:
        rows = sum(record["rows"] for record in records.values())
        answered = sum(record["answered"] for record in records.values())
        destination.complete({"parts": len(records), "rows": rows, "faulty_rows": rows - answered})
    return left


def _for_each(files: Sequence[SourceFile], call: Callable[[SourceFile], Result]) -> list[Result]:
    """Calls a function for each file, several side by side where a file has to come over a network."""
    at_once = max((file.opens_at_once for file in files), default=1)
    if at_once == 1:
        return [call(file) for file in files]
    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(call, files))


def _check_apart(files: Sequence[SourceFile], settings: JobSettings, destination: Destination) -> None:
    """Refuses a destination among the files of the source, which the next run would take for rows."""
    out = destination.place
    for file in files:
        if is_inside(file.place, out):
            raise DataError(f"{destination.address} holds {file.address}, which is to be scored: name another --out.")
    folder = folder_of(settings.source)
    if folder is not None and is_inside(out, folder):
        raise DataError(
            f"{destination.address} lies in {settings.source}, whose files are to be scored: name an --out elsewhere."
        )


def _parts(files: Sequence[SourceFile], settings: JobSettings, *, whole: bool) -> list[Part]:
    found = _for_each(files, lambda file: groups_of(file, rows=settings.part_rows))
    pieces = [(file, groups) for file, own in zip(files, found, strict=True) for groups in own]
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
