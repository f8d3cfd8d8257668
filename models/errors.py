"""The exceptions of Axon's model layer.

    AxonError
    ├── ConfigError          an architecture that cannot be built
    ├── DataError            rows that do not fit the columns they claim to have
    │   └── RowError         … with the row, the column and the reason of each fault
    ├── CheckpointError      a file that is not a sound checkpoint
    └── StoreError           a store that cannot do what was asked
        ├── InvalidName      a model name, alias or reference that is not well formed
        └── ModelNotFound    a well-formed reference to nothing

Every message is one sentence that names the thing at fault and, where there is one, the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class AxonError(Exception):
    """The root: catching it catches whatever Axon raises on purpose."""


class ConfigError(AxonError, ValueError):
    """An architecture or a setting that cannot be built."""


class DataError(AxonError, ValueError):
    """Data that does not fit the columns it claims to have."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one cell or one row.

    `row` counts from 0 within the request; `column` is None where the whole row is at fault.
    """

    row: int
    column: str | None
    message: str

    def __str__(self) -> str:
        where = f"row {self.row}" if self.column is None else f"row {self.row}, column {self.column!r}"
        return f"{where}: {self.message}"


class RowError(DataError):
    """Rows that a schema refuses; `faults` lists what is wrong, first row first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        more = f" (and {len(self.faults) - 1} more)" if len(self.faults) > 1 else ""
        super().__init__(f"{self.faults[0]}{more}")


class CheckpointError(AxonError):
    """A file that is not a sound checkpoint; the message names the file and the reason."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path = Path(path)
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class StoreError(AxonError):
    """A store that cannot do what was asked."""


def reason_of(error: Exception) -> str:
    """What an error says, without the paths of this machine: for answers to clients, and not for the log."""
    if isinstance(error, CheckpointError):
        return error.reason
    cause = error.__cause__
    return f"the store failed: {cause.strerror}." if isinstance(cause, OSError) else str(error)


class InvalidName(StoreError, ValueError):
    """A model name, alias or reference that is not well formed."""


class ModelNotFound(StoreError, LookupError):
    """A well-formed reference to a model, version or alias that the store does not hold."""
