"""The conversion of spools whose writers have ended to Parquet files."""

from __future__ import annotations

from pathlib import Path

from models.errors import DataError
from models.prediction_log.folder import UNREADABLE, converting, has_writer, parquet_path, remove_oldest, spools
from models.prediction_log.logged_rows import read_spool
from models.prediction_log.parquet_files import write_parquet
from models.whole_file import sync_folder


def convert_spools(folder: Path, most_bytes: int) -> list[str]:
    """Turns each spool whose writer has ended into Parquet files, and removes the oldest files.

    If the process is killed, the spool is still there, and the next conversion writes the same files again.

    Args:
        folder: folder of the log.
        most_bytes: largest number of bytes of all files.

    Returns:
        Sentences on spools that cannot be read, which are set aside, and on spools that cannot be converted, which
        stay, so that reports read their rows and the next conversion tries again.

    Raises:
        OSError: a file cannot be written.
    """
    remarks = []
    with converting(folder):
        remove_oldest(folder, most_bytes)
        for spool in spools(folder):
            if has_writer(spool):
                continue
            try:
                _convert(folder, spool)
            except DataError as error:
                remarks.append(f"{spool} {error}")
                spool.replace(spool.with_suffix(UNREADABLE))
            except OSError:
                raise
            except Exception as error:  # one spool must not keep the others from becoming files
                remarks.append(f"{spool} cannot become Parquet files, and stays: {error!r}")
        remove_oldest(folder, most_bytes)
    return remarks


def _convert(folder: Path, spool: Path) -> None:
    try:
        data = spool.read_bytes()
    except FileNotFoundError:  # an API process has removed it, as the oldest file
        return
    for number, rows in enumerate(read_spool(data)):
        path = parquet_path(folder, spool, str(rows.version), number)
        if not path.parent.is_dir():
            path.parent.mkdir(exist_ok=True)
            sync_folder(folder)
        write_parquet(rows, path)
    spool.unlink(missing_ok=True)
