"""Reading of a log of predictions, also while servers write to the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.errors import DataError
from models.prediction_log.folder import SPOOLS, parquet_files, spools, stem_of
from models.prediction_log.logged_rows import LoggedRows, read_spool
from models.prediction_log.parquet_files import read_parquet


def read_log(folder: Path) -> Iterator[LoggedRows]:
    """Yields all rows of a log, file by file; each part is of one model version.

    A spool that becomes Parquet files meanwhile is read once, in one form or the other.

    Args:
        folder: folder of the log.

    Raises:
        DataError: the folder is no log of predictions, or a file of the log cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: name the folder of AXON_PREDICTION_LOG.")
    waiting = spools(folder)
    if not waiting and not (folder / SPOOLS).is_dir() and not parquet_files(folder):
        raise DataError(f"{folder} has no log of predictions: name the folder of AXON_PREDICTION_LOG.")
    done: set[str] = set()
    for path in waiting:
        try:
            data = path.read_bytes()
        except FileNotFoundError:  # it has become Parquet files
            continue
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}.") from None
        done.add(stem_of(path))
        try:
            yield from read_spool(data)
        except DataError as error:
            raise DataError(f"{path} {error}") from None
    for path in parquet_files(folder):
        if stem_of(path) in done:
            continue
        try:
            yield read_parquet(path)
        except FileNotFoundError:  # the oldest files leave
            continue
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error}.") from None
