"""The text that Prometheus scrapes, made in short pieces, so that it may be made between two predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

from prometheus_client.utils import floatToGoString

from service.series_file import Family, Labels, SeriesReader, Values
from service.time_slices import TimeSlices

SLICE_SECONDS = 100e-6  # a fraction of what a batch takes
PAUSE_SECONDS = 1e-3  # so that most of the time is for predictions, and the processor for other processes
CHUNK_BYTES = 1 << 15  # written to a socket at once
_NO_LABELS = "\x00"  # stands for them in a template


Slices = partial(TimeSlices, SLICE_SECONDS, PAUSE_SECONDS)


async def in_chunks(pieces: Iterator[bytes]) -> list[bytes]:
    """All pieces, in larger ones, made in slices of time."""
    chunks, chunk = [], bytearray()
    slices = Slices()
    for piece in pieces:
        chunk += piece
        if len(chunk) >= CHUNK_BYTES:
            chunks.append(bytes(chunk))
            chunk.clear()
        await slices.pause()
    return [*chunks, bytes(chunk)]


class FamilyText:
    """The text of one metric over all processes; of what has not changed it is kept from scrape to scrape.

    Args:
        folder: folder of the metric files.
        family: the metric.
    """

    def __init__(self, folder: Path, family: Family) -> None:
        self._family = family
        self._reader = SeriesReader(folder, family)
        self._texts: dict[Labels, tuple[Values, bytes]] = {}
        if family.bounds:
            self._kind, self._template = "histogram", _histogram_template(family)
        else:
            self._kind, self._template = "counter", f"{family.name}{{{_NO_LABELS}}} %d\n"

    def pieces(self) -> Iterator[bytes]:
        """The text, piece by piece; an empty piece is a moment to pause."""
        sums: dict[Labels, Values] = {}
        for sums in self._reader.read():  # noqa: B007 -- the last is whole
            yield b""
        yield _head(self._family.name, self._family.help, self._kind)
        before, self._texts = self._texts, {}
        for labels, values in sums.items():
            known = before.get(labels)
            if known is None or known[0] != values:
                known = values, self._text(labels, values)
            self._texts[labels] = known
            yield known[1]

    def _text(self, labels: Labels, values: Values) -> bytes:
        template = self._template.replace(_NO_LABELS, _label_text(self._family.labels, labels).replace("%", "%%"))
        if not self._family.bounds:
            return (template % values).encode()
        *counts, total = values
        cumulative = list(accumulate(counts))
        return (template % (*cumulative, cumulative[-1], total)).encode()


def gauge_text(
    name: str, help_: str, labels: Sequence[str], samples: Iterable[tuple[Labels, float]]
) -> Iterator[bytes]:
    """A gauge's text."""
    yield _head(name, help_, "gauge")
    for values, value in samples:
        yield f"{name}{{{_label_text(labels, values)}}} {value!r}\n".encode()


def _head(name: str, help_: str, kind: str) -> bytes:
    return f"# HELP {name} {help_}\n# TYPE {name} {kind}\n".encode()


def _histogram_template(family: Family) -> str:
    """One series' lines, to be formatted with cumulative counts, their last again, and the sum."""
    lines = [
        f'{family.name}_bucket{{le="{floatToGoString(bound)}",{_NO_LABELS}}} %d\n'  # type: ignore[no-untyped-call]
        for bound in (*family.bounds, float("inf"))
    ]
    return "".join((*lines, f"{family.name}_count{{{_NO_LABELS}}} %d\n", f"{family.name}_sum{{{_NO_LABELS}}} %r\n"))


def _label_text(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(zip(names, values, strict=False)))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
