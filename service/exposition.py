"""The text that Prometheus scrapes, written in short pieces between predictions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
from itertools import accumulate
from pathlib import Path

from prometheus_client.utils import floatToGoString

from service.exemplars import Exemplars
from service.series_file import Family, Labels, SeriesReader, Values
from service.time_slices import TimeSlices

SLICE_SECONDS = 100e-6  # a fraction of the time of a batch
PAUSE_SECONDS = 1e-3  # so that predictions and other processes get most of the time
CHUNK_BYTES = 1 << 15  # written to a socket at once
_LABELS = "\x00"  # the place of the labels in a template
_HELP = b"# HELP "


Slices = partial(TimeSlices, SLICE_SECONDS, PAUSE_SECONDS)


async def in_chunks(pieces: Iterator[bytes]) -> list[bytes]:
    """Joins pieces to chunks of about `CHUNK_BYTES`, in slices of time."""
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
    """The text of one metric, summed over all processes. The text of unchanged series is kept between scrapes.

    Args:
        folder: folder of the metric files.
        family: family of the metric.

    Attributes:
        family: family of the metric.
    """

    def __init__(self, folder: Path, family: Family) -> None:
        self.family = family
        self._reader = SeriesReader(folder, family)
        self._texts: dict[Labels, tuple[Values, bytes]] = {}
        if family.bounds:
            self._kind, self._template = "histogram", _histogram_template(family)
        else:
            self._kind, self._template = "counter", f"{family.name}{{{_LABELS}}} %d\n"

    def pieces(self, exemplars: Exemplars | None = None, *, is_open_metrics: bool = False) -> Iterator[bytes]:
        """Yields the text in pieces; an empty piece marks a moment to pause.

        Args:
            exemplars: exemplars of the metric, for OpenMetrics only.
            is_open_metrics: True for the text of OpenMetrics, in which a counter's family has no `_total`.
        """
        sums: dict[Labels, Values] = {}
        for sums in self._reader.read():  # noqa: B007 -- the last value is complete
            yield b""
        name = self.family.name.removesuffix("_total") if is_open_metrics else self.family.name
        yield _head(name, self.family.help, self._kind)
        before, self._texts = self._texts, {}
        for labels, values in sums.items():
            known = before.get(labels)
            if known is None or known[0] != values:
                known = values, self._text(labels, values)
            self._texts[labels] = known
            yield known[1] if exemplars is None else exemplars.added_to(known[1], labels)

    def _text(self, labels: Labels, values: Values) -> bytes:
        template = self._template.replace(_LABELS, _label_text(self.family.labels, labels).replace("%", "%%"))
        if not self.family.bounds:
            return (template % values).encode()
        *counts, total = values
        cumulative = list(accumulate(counts))
        return (template % (*cumulative, cumulative[-1], total)).encode()


def gauge_text(
    name: str, help_: str, labels: Sequence[str], samples: Iterable[tuple[Labels, float]]
) -> Iterator[bytes]:
    """Yields the text of a gauge.

    Args:
        name: name of the metric.
        help_: one sentence about the metric.
        labels: names of the labels.
        samples: values of the labels, and the value of the gauge, for each series.
    """
    yield _head(name, help_, "gauge")
    for values, value in samples:
        yield f"{name}{{{_label_text(labels, values)}}} {value!r}\n".encode()


def only_named(text: bytes, names: Set[str]) -> bytes:
    """Returns the metrics of a text that have certain names.

    Args:
        text: text of some metrics, each with its line of help.
        names: names of metrics; empty for all.
    """
    if not names:
        return text
    found = []
    for metric in text.split(_HELP)[1:]:
        name = metric.split(b" ", 1)[0].decode()
        if name in names or f"{name}_total" in names:  # OpenMetrics leaves the ending of a counter out
            found.append(_HELP + metric)
    return b"".join(found)


def _head(name: str, help_: str, kind: str) -> bytes:
    return f"# HELP {name} {help_}\n# TYPE {name} {kind}\n".encode()


def _histogram_template(family: Family) -> str:
    """Returns the template for the lines of one series: the cumulative counts, the last count again, and the sum."""
    lines = [
        f'{family.name}_bucket{{le="{floatToGoString(bound)}",{_LABELS}}} %d\n'  # type: ignore[no-untyped-call]
        for bound in (*family.bounds, float("inf"))
    ]
    return "".join((*lines, f"{family.name}_count{{{_LABELS}}} %d\n", f"{family.name}_sum{{{_LABELS}}} %r\n"))


def _label_text(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(zip(names, values, strict=False)))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
