"""The files of a folder, or of a pattern of names, that are one table: each file once, or a refusal.

Names that begin with `_` or a dot are passed over, as Spark, Dask and Arrow do: they mark unfinished files and lists.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.errors import DataError

# Folders that mark formats which keep deleted rows in their files, and list separately which rows are valid.
LAKES = {"_delta_log": "a Delta Lake table", ".hoodie": "a Hudi table"}
ICEBERG = "an Iceberg table"


def is_pattern(source: str) -> bool:
    """Returns True if a source is a pattern of file names rather than a file's name."""
    return glob.has_magic(source) and not Path(source).exists()


def files_in(folder: Path) -> list[Path]:
    """Returns all files below a folder that are not hidden, sorted by name. Links to folders are followed.

    Raises:
        DataError: a folder cannot be read or is reached twice, a file is there twice, or the folder's format keeps
            deleted rows.
    """
    return _once(_walk(folder))


def files_matching(pattern: str) -> tuple[Path, list[Path]]:
    """Returns the root of a pattern, and the sorted files that match.

    The root is the folder before the first wildcard. A folder that matches stands for all files below it.

    Raises:
        DataError: as `files_in`.
    """
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    _refuse_old_rows(root)
    for end in range(fixed, len(parts)):
        # `glob` passes over a folder that it cannot read.
        for place in _shown(root, str(Path(*parts[:end])) if end else "."):
            if place.is_dir():
                _list(place)
                _refuse_old_rows(place)
    found: list[Path] = []
    for match in _shown(root, pattern):
        found += _walk(match) if match.is_dir() else [match]
    return root, _once(set(found))


def is_hidden(name: str) -> bool:
    """Returns True for a name that is passed over, which `KEY=VALUE`, the folder of a partition, is not."""
    return name.startswith(("_", ".")) and "=" not in name


def _shown(root: Path, pattern: str) -> Iterator[Path]:
    """Yields the matches of a pattern that have no hidden name below the root."""
    for match in glob.iglob(pattern, recursive=True):  # noqa: PTH207  # Path.glob takes no absolute pattern
        path = Path(match)
        if not any(map(is_hidden, path.relative_to(root).parts)):
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    seen: dict[tuple[int, int], str] = {}
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        stat = os.stat(place)  # noqa: PTH116  # os.walk gives texts
        if (other := seen.setdefault((stat.st_dev, stat.st_ino), place)) != place:
            raise DataError(f"{place} and {other} are one folder, by a link: remove the link, or name the files.")
        _refuse_old_rows(Path(place))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        yield from (Path(place) / name for name in names if not is_hidden(name))


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _list(folder: Path) -> None:
    try:
        os.scandir(folder).close()
    except OSError as error:
        _refuse(error)


def _refuse_old_rows(folder: Path) -> None:
    """Refuses the folder of a table whose format keeps deleted rows among its files."""
    what = next((what for name, what in LAKES.items() if (folder / name).is_dir()), None)
    if what is None and any((folder / "metadata").glob("*.metadata.json")):
        what = ICEBERG
    if what is not None:
        raise old_rows(folder, what)


def old_rows(folder: str | Path, what: str) -> DataError:
    """Returns the refusal of a table whose format keeps deleted rows among its files.

    Args:
        folder: path or URL of the table.
        what: name of the format.
    """
    return DataError(
        f"{folder} is {what}: among its files are rows that were deleted or replaced. Write its present rows to a "
        "Parquet file, and name that."
    )


def _once(paths: Iterable[Path]) -> list[Path]:
    """Returns files sorted by name, and refuses two names of one file, whose rows would be read twice."""
    found = sorted(paths)
    seen: dict[tuple[int, int], Path] = {}
    for path in found:
        try:
            stat = path.stat()
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from error
        if (other := seen.setdefault((stat.st_dev, stat.st_ino), path)) != path:
            raise DataError(f"{other} and {path} are one file, by a link: its rows would be read twice. Remove one.")
    return found
