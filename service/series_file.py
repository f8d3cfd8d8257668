"""Files of metrics by model version: one file for each process and metric, one record for each version.

Ended versions free their records, so the size of a file is bounded by the number of served versions.

A record has two halves, each with a checksum. A flush writes the older half, so that a reader finds a complete half at
any moment, even if the writer was killed during a write. A restarted process continues from its file.

    half = checksum u32 · sequence u32 · key, padded with zeros · values f64 …       (little-endian; free: all zeros)

Disk space is allocated before it is mapped: writing a page for which a full disk has no space would end the process.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import add
from pathlib import Path
from zlib import crc32

from service.logs import get_logger

Labels = tuple[str, ...]
Values = tuple[float, ...]
_Parsed = tuple[bytes, Labels | None, Values]  # a record's bytes, and its content; None for a free record

_SEPARATOR = "\x1f"
_CHECKSUM = struct.Struct("<I")
_HEAD = struct.Struct("<II")  # checksum, sequence
_FIRST_RECORDS = 256
_STEP_RECORDS = 8  # records read in one step

log = get_logger(__name__)


@dataclass(frozen=True)
class Family:
    """One metric: a counter, or with `bounds` a histogram.

    Attributes:
        name: name of the metric that Prometheus sees.
        help: one sentence about the metric.
        labels: names of the labels.
        bounds: upper bounds of a histogram's buckets, ascending, without infinity.
        key_bytes: number of bytes for the labels' values; longer values are cut.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()
    key_bytes: int = 88

    @property
    def width(self) -> int:
        """Number of values in one series: 1 for a counter; a count for each bucket, and the sum, for a histogram."""
        return len(self.bounds) + 2 if self.bounds else 1

    @property
    def half(self) -> struct.Struct:
        """The format of the bytes under a checksum: sequence, key, values."""
        return struct.Struct(f"<I{self.key_bytes}s{self.width}d")

    def files(self, folder: Path) -> list[Path]:
        """Returns the files of all processes."""
        return sorted(folder.glob(f"{self.name}.*.series"))

    def file(self, folder: Path, role: str) -> Path:
        """Returns the file of one process."""
        return folder / f"{self.name}.{role}.series"


@dataclass
class _Series:
    """One series in memory of the writer; `slot` is None while the file has no room for the series."""

    values: list[float]
    slot: int | None = None
    sequence: int = 0


@dataclass
class _Room:
    """The mapped file: its number of records, and the free ones."""

    map: mmap.mmap
    records: int
    free: list[int] = field(default_factory=list)


class SeriesFile:
    """The series of one metric that one process writes.

    Args:
        folder: folder of the metric files.
        role: name of the process.
        family: family of the metric.
    """

    def __init__(self, folder: Path, role: str, family: Family) -> None:
        self._family = family
        self._half = family.half
        self._half_bytes = _CHECKSUM.size + self._half.size
        self._path = family.file(folder, role)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._series: dict[Labels, _Series] = {}
        self._is_disk_full = False
        records = os.fstat(self._descriptor).st_size // (2 * self._half_bytes)
        self._room = self._allocate(max(records, _FIRST_RECORDS))
        self._restore()

    def add(self, labels: Labels, values: Sequence[float]) -> None:
        """Adds to a series, which begins with its first addition.

        Args:
            labels: values of the labels.
            values: `family.width` increments, one for each value of the series.
        """
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series([0.0] * self._family.width)
        ours = series.values
        for at, value in enumerate(values):
            if value:
                ours[at] += value
        if series.slot is None:
            series.slot = self._slot()
            if series.slot is None:  # the next addition tries again; until then, the values stay in memory
                return
        series.sequence += 1
        key = _SEPARATOR.join(labels).encode()
        body = self._half.pack(series.sequence, key, *ours)
        at = (2 * series.slot + (series.sequence & 1)) * self._half_bytes
        self._room.map[at : at + self._half_bytes] = _CHECKSUM.pack(crc32(body)) + body

    def end(self, has_ended: Callable[[Labels], bool]) -> None:
        """Removes the series that have ended.

        Args:
            has_ended: function that returns True for the labels of a series that has ended.
        """
        for labels in [labels for labels in self._series if has_ended(labels)]:
            slot = self._series.pop(labels).slot
            if slot is not None:
                record = 2 * self._half_bytes
                self._room.map[slot * record : (slot + 1) * record] = bytes(record)
                self._room.free.append(slot)

    def close(self) -> None:
        """Closes the file."""
        self._room.map.close()
        os.close(self._descriptor)

    def _slot(self) -> int | None:
        """Takes a free record; returns None if the disk has no space for more records."""
        if not self._room.free:
            records = self._room.records
            try:
                grown = self._allocate(2 * records)
            except OSError as error:
                if not self._is_disk_full:
                    log.warning("no room for more metrics", path=str(self._path), reason=str(error))
                self._is_disk_full = True
                return None
            self._room.map.close()
            self._room, self._is_disk_full = grown, False
            self._room.free = list(range(records, grown.records))[::-1]
        return self._room.free.pop()

    def _allocate(self, records: int) -> _Room:
        """Allocates disk space for records, and maps the file."""
        size = records * 2 * self._half_bytes
        os.posix_fallocate(self._descriptor, 0, size)
        return _Room(mmap.mmap(self._descriptor, size), records)

    def _restore(self) -> None:
        """Restores the series that a predecessor wrote, and clears incomplete records."""
        record = 2 * self._half_bytes
        for slot in range(self._room.records):
            found = _newest(self._room.map[slot * record : (slot + 1) * record], self._half)
            if found is None:
                self._room.map[slot * record : (slot + 1) * record] = bytes(record)
                self._room.free.append(slot)
            else:
                sequence, key, values = found
                self._series[_labels(key)] = _Series(list(values), slot, sequence)
        self._room.free.reverse()


class SeriesReader:
    """A reader of one metric's series in all processes. Records that have not changed are not parsed again.

    Args:
        folder: folder of the metric files.
        family: family of the metric.
    """

    def __init__(self, folder: Path, family: Family) -> None:
        self._folder = folder
        self._family = family
        self._half = family.half
        self._record = 2 * (_CHECKSUM.size + self._half.size)
        self._seen: dict[Path, list[_Parsed]] = {}

    def read(self) -> Iterator[dict[Labels, Values]]:
        """Reads all files in short steps, between which other work may run.

        Yields:
            The sums over all processes, by labels: the same dictionary after each step, complete after the last.
        """
        sums: dict[Labels, Values] = {}
        before, self._seen = self._seen, {}
        for path in self._family.files(self._folder):
            known = before.get(path, [])
            parsed = self._seen[path] = []
            with contextlib.suppress(OSError), path.open("rb", buffering=0) as file:
                while block := file.read(_STEP_RECORDS * self._record):
                    self._parse(block, known, parsed, sums)
                    yield sums
        yield sums

    def _parse(self, block: bytes, known: list[_Parsed], parsed: list[_Parsed], sums: dict[Labels, Values]) -> None:
        """Parses the records of a block, appends the results to `parsed`, and adds the values to `sums`.

        Args:
            block: bytes of complete records.
            known: records of the same file at the last reading, in order.
            parsed: records of this file so far, in order.
            sums: sums of the values, by labels.
        """
        size = self._record
        for at in range(0, len(block) - size + 1, size):
            record = block[at : at + size]
            slot = len(parsed)
            if slot < len(known) and known[slot][0] == record:
                parsed.append(known[slot])
            else:
                found = _newest(record, self._half)
                parsed.append((record, None, ()) if found is None else (record, _labels(found[1]), found[2]))
            _, labels, values = parsed[slot]
            if labels is not None:
                sums[labels] = tuple(map(add, sums[labels], values)) if labels in sums else values


def _newest(record: bytes, half: struct.Struct) -> tuple[int, bytes, Values] | None:
    """Returns sequence, key and values of a record's newest complete half, or None for a free record."""
    size = len(record) // 2
    first, second = (_HEAD.unpack_from(record, at) for at in (0, size))
    for at in (0, size) if first[1] > second[1] else (size, 0):
        checksum, _ = _HEAD.unpack_from(record, at)
        if checksum and crc32(record[at + _CHECKSUM.size : at + size]) == checksum:
            sequence, key, *values = half.unpack_from(record, at + _CHECKSUM.size)
            return sequence, key, tuple(values)
    return None


def _labels(key: bytes) -> Labels:
    return tuple(key.rstrip(b"\0").decode(errors="ignore").split(_SEPARATOR))
