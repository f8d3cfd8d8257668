"""The rows of a log that a report is about: one model, some versions, a span of time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.errors import DataError
from models.prediction_log.logged_rows import LoggedRows
from models.prediction_log.reading import read_log


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A choice of logged rows.

    Attributes:
        folder: folder of the log.
        model: name of the model; None if the log has one model only.
        version: number of the version; None for all.
        since, until: span of time, in seconds since 1970, `until` excluded; None for no bound.
    """

    folder: Path
    model: str | None = None
    version: int | None = None
    since: float | None = None
    until: float | None = None

    def rows(self) -> Iterator[LoggedRows]:
        """Yields the chosen rows, part by part.

        Raises:
            DataError: the folder is no log, no row is chosen, or the model is not named where the log has several.
        """
        models: set[str] = set()
        is_found = False
        for part in read_log(self.folder):
            models.add(part.version.name)
            if self.model is None and len(models) > 1:
                raise DataError(
                    f"{self.folder} has rows of several models: name one, such as --model {part.version.name}."
                )
            if self.model is not None and part.version.name != self.model:
                continue
            if self.version is not None and part.version.version != self.version:
                continue
            some = self._within(part)
            if len(some):
                is_found = True
                yield some
        if not is_found:
            wanted = "" if self.model is None else f" of {self._wanted}"
            within = " in this span of time" if self.since is not None or self.until is not None else ""
            there = f"; it has rows of {', '.join(sorted(models))}" if models else ""
            raise DataError(f"{self.folder} has no rows{wanted}{within}{there}.")

    @property
    def _wanted(self) -> str:
        return f"{self.model}" if self.version is None else f"{self.model}@{self.version}"

    def _within(self, part: LoggedRows) -> LoggedRows:
        if self.since is None and self.until is None:
            return part
        is_within = np.ones(len(part), dtype=np.bool_)
        if self.since is not None:
            is_within &= part.times >= self.since
        if self.until is not None:
            is_within &= part.times < self.until
        return part if is_within.all() else part.taken(np.flatnonzero(is_within))


def parse_model(reference: str | None) -> tuple[str | None, int | None]:
    """Splits a reference to logged rows, `NAME` or `NAME@VERSION`.

    Raises:
        DataError: the text behind the @ is no version.
    """
    if reference is None:
        return None, None
    name, at, version = reference.partition("@")
    if at and not version.isdecimal():
        raise DataError(f"{reference!r}: the log knows versions by number, such as {name}@3.")
    return name, int(version) if at else None
