"""The results of studies that were run, as files beside the models of a store: a record and a plot each.

    checkpoints/
      .studies/
        xor.json            claim, verdict, tables and diagrams: a `StudyRecord`
        xor.svg             the plot, or xor.png

`axon study NAME --publish` writes the files, and a server shows them. The name of a model begins with a letter or a
digit, so readers of models skip the folder. Each file is replaced by the renaming of a finished one.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from models.checkpoint import open_file
from models.errors import DataError, StoreError
from models.links import leads_out
from models.whole_file import write_whole

STUDIES_FOLDER = ".studies"
MOST_STUDIES = 64  # a server lists so many; there are fourteen
PlotFormat = Literal["svg", "png"]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}", re.ASCII)
_RECORD_BYTES, _PLOT_BYTES = 1 << 19, 1 << 22
_SUFFIX = ".json"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyRecord:
    """The result of one run of a study.

    Attributes:
        name: name of the study, such as `width-depth`.
        about: question of the study, on one line.
        explanation: reason for the result, in a few sentences.
        claim: claim about networks, one sentence.
        holds: True if this run supports the claim.
        verdict: observation of this run, one sentence with figures.
        seed: seed of the run.
        quick: True for a run with less of everything.
        ran: time of the run, ISO 8601 in UTC.
        tables: tables with `title` and `rows`, each row an object by column.
        diagrams: diagrams with `title` and `mermaid`.
        plot: format of the plot's file.
    """

    name: str
    about: str
    explanation: str
    claim: str
    holds: bool
    verdict: str
    seed: int
    quick: bool
    ran: str
    tables: list[dict[str, Any]]
    diagrams: list[dict[str, str]]
    plot: PlotFormat

    def __post_init__(self) -> None:
        if not is_study_name(self.name):
            raise DataError(f"{self.name[:80]!r} is not the name of a study: small letters, digits and hyphens.")

    @classmethod
    def from_dict(cls, raw: object) -> StudyRecord:
        """Builds a record from the JSON object of a file.

        Raises:
            DataError: a field is missing or of another type.
        """
        if not isinstance(raw, Mapping):
            raise DataError("a study's record is a JSON object.")
        for field in fields(cls):
            if not _is_valid(field.name, raw.get(field.name)):
                raise DataError(f"the field {field.name!r} is missing or of another type.")
        return cls(**{field.name: raw[field.name] for field in fields(cls)})


def is_study_name(name: str) -> bool:
    """Returns True for a name that a study may have; such a name is no path out of the folder."""
    return _NAME.fullmatch(name) is not None


def publish_study(root: Path, record: StudyRecord, plot: bytes) -> Path:
    """Writes the result of a study beside the models of a store, in place of an earlier one.

    Args:
        root: folder of the store, which is made if there is none.
        record: result of the study.
        plot: content of the plot's file.

    Returns:
        Path of the record's file.

    Raises:
        StoreError: the disk refuses the write.
    """
    folder = root / STUDIES_FOLDER
    path = folder / f"{record.name}{_SUFFIX}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / f"{record.name}.{record.plot}", plot)
        write_whole(path, json.dumps(asdict(record), allow_nan=False, ensure_ascii=False).encode())
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}.") from error
    return path


def read_studies(root: Path) -> tuple[list[StudyRecord], dict[str, str]]:
    """Reads up to `MOST_STUDIES` results in a store, sorted by name.

    Returns:
        Records, and the reason by name for each one that cannot be read.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        with os.scandir(root / STUDIES_FOLDER) as places:
            found = sorted(place.name.removesuffix(_SUFFIX) for place in places if place.name.endswith(_SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return [], {}
    except OSError as error:
        raise StoreError(f"the folder {STUDIES_FOLDER} cannot be read: {error.strerror}.") from error
    records, problems = [], {}
    for name in list(filter(is_study_name, found))[:MOST_STUDIES]:
        try:
            record = read_study(root, name)
        except DataError as error:
            problems[name] = str(error)
            continue
        if record is not None:
            records.append(record)
    return records, problems


def read_study(root: Path, name: str) -> StudyRecord | None:
    """Reads the result of a study; returns None if there is none.

    Raises:
        DataError: the file cannot be read, or holds no record; the message has no path of this machine.
    """
    if not is_study_name(name):
        return None
    content = _read(root, f"{name}{_SUFFIX}", _RECORD_BYTES)
    if content is None:
        return None
    try:
        record = StudyRecord.from_dict(json.loads(content, parse_constant=_no_number))
    except DataError as error:
        raise DataError(f"{name}{_SUFFIX}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}{_SUFFIX} is not JSON: {error}.") from error
    if record.name != name:
        raise DataError(f"{name}{_SUFFIX} is the record of {record.name!r}.")
    return record


def read_plot(root: Path, record: StudyRecord) -> bytes | None:
    """Reads the plot of a study; returns None if there is none.

    Raises:
        DataError: the file cannot be read; the message has no path of this machine.
    """
    return _read(root, f"{record.name}.{record.plot}", _PLOT_BYTES)


def _read(root: Path, file_name: str, most: int) -> bytes | None:
    """Returns the content of a file in the folder of studies; None if there is no such file.

    Args:
        root: folder of the store.
        file_name: name of the file.
        most: largest number of bytes that are read.
    """
    path = root / STUDIES_FOLDER / file_name
    try:
        if leads_out(path, root):
            raise DataError(f"{file_name} is, or lies behind, a link that leads out of the store.")
        with open_file(path) as file:
            content = file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{file_name} cannot be read: {error.strerror}.") from error
    if len(content) > most:
        raise DataError(f"{file_name} has more than {most:,} bytes.")
    return content


def _is_valid(name: str, value: object) -> bool:
    """Returns True if a field of a record has a value of the right type."""
    match name:
        case "holds" | "quick":
            return isinstance(value, bool)
        case "seed":
            return type(value) is int
        case "tables":
            return isinstance(value, list) and all(map(_is_table, value))
        case "diagrams":
            return isinstance(value, list) and all(map(_is_diagram, value))
        case "plot":
            return value in get_args(PlotFormat)
    return isinstance(value, str)


def _is_table(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"title", "rows"} or not isinstance(value["rows"], list):
        return False
    rows = value["rows"]
    return isinstance(value["title"], str) and all(
        isinstance(row, dict) and all(map(_is_cell, row.values())) for row in rows
    )


def _is_diagram(value: object) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"title", "mermaid"}
        and all(isinstance(text, str) for text in value.values())
    )


def _is_cell(value: object) -> bool:
    return value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value))


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is not a number of JSON")
