"""The exceptions of models, and the root of the exceptions that callers of Axon's packages see.

    AxonError
    ├── ConfigError          an architecture or setting that cannot be built
    ├── DataError            data that does not fit the columns, or cannot be read
    │   └── RowError         rows that a schema refuses, with row, column and reason of each fault
    ├── CheckpointError      a file that is not a sound checkpoint
    │   ├── SignatureError   a checkpoint that is not signed as it has to be
    │   └── NotFetched       a checkpoint that could not be brought from a bucket; a later attempt may succeed
    └── StoreError           a store that cannot do what was asked
        ├── BucketError      a bucket that does not answer, or whose answer is wrong
        ├── InvalidName      a model name, alias or reference that is not well formed
        └── ModelNotFound    a well-formed reference to a model, version or alias that does not exist

`inference.errors`, `training.errors` and `service.errors` derive their own exceptions from `AxonError`. A message names
the cause and, if there is one, the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class AxonError(Exception):
    """The root of Axon's exceptions for callers.

    Two kinds of exceptions have other bases: signals inside one package, and the errors of the service's start and of
    its HTTP layer, which the service turns into a message or a response.
    """


class ConfigError(AxonError, ValueError):
    """An architecture or a setting that cannot be built."""


class DataError(AxonError, ValueError):
    """Data that does not fit the columns, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An error in one cell or one row.

    Attributes:
        row: index of the row in the request, from 0.
        column: name of the column; None for an error of the whole row.
        message: reason, for people.
    """

    row: int
    column: str | None
    message: str

    def __str__(self) -> str:
        where = f"row {self.row}" if self.column is None else f"row {self.row}, column {self.column!r}"
        return f"{where}: {self.message}"


class RowError(DataError):
    """Rows that a schema refuses.

    Attributes:
        faults: errors in the rows, in order.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        super().__init__(f"{self.faults[0]}{more}")


class CheckpointError(AxonError):
    """A file that is not a sound checkpoint.

    Attributes:
        path: path of the file.
        reason: reason without the path.
    """

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class SignatureError(CheckpointError):
    """A checkpoint without a signature, or with a signature that is wrong or belongs to another version."""


class NotFetched(CheckpointError):
    """A checkpoint that could not be brought from a bucket; a later attempt may succeed."""


class StoreError(AxonError):
    """A store that cannot do what was asked."""


class BucketError(StoreError):
    """A bucket that does not answer, or whose answer is wrong.

    Attributes:
        reason: reason without the URL.
    """

    def __init__(self, address: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{address}: {reason}")


def may_pass(error: BaseException) -> bool:
    """Returns True if a later attempt may succeed without a change of the file: memory, descriptors, a disk, a network.

    Args:
        error: error of an attempt to read or load a checkpoint.
    """
    # torch's error for a GPU without room is known by its name, since not every process has torch.
    return (
        isinstance(error, OSError | MemoryError | NotFetched)
        or isinstance(error.__cause__, OSError)
        or type(error).__name__ == "OutOfMemoryError"
    )


def reason_of(error: Exception) -> str:
    """Returns the message of an error without the paths of this machine, for responses to clients."""
    if isinstance(error, CheckpointError | BucketError):
        return error.reason
    cause = error.__cause__
    return f"the store failed: {cause.strerror}." if isinstance(cause, OSError) else str(error)


class InvalidName(StoreError, ValueError):
    """A model name, alias or reference that is not well formed."""


class ModelNotFound(StoreError, LookupError):
    """A well-formed reference to a model, version or alias that the store does not hold."""
