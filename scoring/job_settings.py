"""The settings of a bulk job."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.errors import ConfigError
from scoring.shard import Shard
from scoring.writing import OutForm

Errors = Literal["refuse", "skip", "null"]

PART_ROWS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """The settings of a job.

    Attributes:
        source: path or URL of a file, a folder or a pattern of the rows.
        out: path or URL of the folder of the answers, or of a file with a suffix.
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
    out: Path | str
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
