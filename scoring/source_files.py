"""The files of a source: on a disk, in a bucket or on a web server, by what the user wrote."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from models.errors import DataError
from models.installation import missing_part
from scoring.address import address_of, first_pattern, local_path
from scoring.local_files import local_files_of, local_place
from scoring.source_file import SourceFile


def files_of(source: str | Path, *, left_out: Callable[[str], bool] | None = None) -> list[SourceFile]:
    """Returns the files of a source, ordered by name.

    Args:
        source: path or URL of a file or a folder, or a pattern such as `rows/*.parquet`. Names below it that begin
            with a dot or `_` are passed over, as Spark and Dask do.
        left_out: function that says whether a match of a pattern, given as its place, is left out; None to take all.

    Raises:
        DataError: there is no such file, or one that is of no known format; or as `files_in`.
        BucketError: the bucket or the server does not answer.
    """
    address = address_of(str(source))
    if address is None:
        return local_files_of(local_path(str(source)), left_out)
    try:
        from scoring.bucket_files import bucket_files_of  # imports obstore, which a disk does not need
    except ModuleNotFoundError as missing:
        if (sentence := missing_part("bucket", missing)) is None:
            raise
        raise DataError(sentence) from None
    return bucket_files_of(address, left_out)


def folder_of(source: str) -> str | None:
    """Returns the place of a source that is a folder, and of none else.

    Args:
        source: path or URL of a file or a folder, or a pattern.
    """
    address = address_of(source)
    if address is None:
        path = Path(local_path(source))
        return local_place(path) if path.is_dir() else None
    if address.is_server or first_pattern(address.key) is not None:
        return None
    return address.url() if address.key else address.root
