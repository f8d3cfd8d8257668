"""Opening a destination by what the user wrote: a path, or the URL of a place in a bucket."""

from __future__ import annotations

from pathlib import Path

from models.errors import DataError
from models.installation import missing_part
from scoring.address import address_of, local_path
from scoring.destination import Destination
from scoring.local_destination import LocalDestination
from scoring.writing import OutForm


def open_destination(out: Path | str, form: OutForm) -> Destination:
    """Returns the destination of a path or a URL; nothing is written yet.

    Args:
        out: path or URL of the folder of the parts, or of a file with a suffix.
        form: format of the parts.

    Raises:
        DataError: the URL is not valid, or its extra is not installed.
        BucketError: the environment does not fit the URL.
    """
    address = address_of(str(out))
    if address is None:
        return LocalDestination(Path(local_path(str(out))), form)
    try:
        from scoring.bucket_destination import BucketDestination  # imports obstore, which a disk does not need
    except ModuleNotFoundError as missing:
        if (sentence := missing_part("bucket", missing)) is None:
            raise
        raise DataError(sentence) from None
    return BucketDestination(address, form)
