"""Charts as inline SVG: lines, points, bars. The colours come from the page's CSS, for light and dark mode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 12, 44


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """An axis of a chart: the label and the shown range; `log` needs a range above 0."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Returns the position of a value, from 0 at the low end to 1 at the high end; values outside are clipped."""
        low, high, at = (self._scaled(number) for number in (self.low, self.high, min(max(value, self.low), self.high)))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[float]:
        """Returns about five round numbers along the axis."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if len(decades) <= 3 else (1,)
            candidates = [factor * 10.0**decade for decade in decades for factor in factors]
            ticks = [tick for tick in candidates if self.low <= tick <= self.high]
            return ticks[:: math.ceil(len(ticks) / 7)]
        step = _round_step((self.high - self.low) / 5)
        first = math.ceil(self.low / step - 1e-9)
        return [i * step for i in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.log else value


@dataclass(kw_only=True)
class Chart:
    """A chart under construction.

    Attributes:
        title: caption of the chart.
        about: description with the main figures, for readers who do not see the chart.
        x, y: axes of the chart.
    """

    title: str
    about: str
    x: Axis
    y: Axis
    _marks: list[str] = field(default_factory=list)
    _legend: list[tuple[str, str]] = field(default_factory=list)

    def line(self, points: Sequence[tuple[float, float]], *, colour: str, name: str | None = None) -> None:
        """Draws a line through points; `colour` is a class of the page's CSS."""
        path = " ".join(f"{x},{y}" for x, y in map(self._at, points))
        self._marks.append(f'<polyline class="line {colour}" points="{path}"/>')
        if name is not None:
            self._legend.append((colour, name))

    def point(self, x: float, y: float, *, colour: str, radius: float = 3, label: str | None = None) -> None:
        """Draws a disc, with a label that is shown under the pointer."""
        at_x, at_y = self._at((x, y))
        title = "" if label is None else f"<title>{escape(label)}</title>"
        self._marks.append(f'<circle class="dot {colour}" cx="{at_x}" cy="{at_y}" r="{radius:.1f}">{title}</circle>')

    def bar(self, low: float, high: float, value: float, *, colour: str, label: str) -> None:
        """Draws an upright bar from the bottom to `value`."""
        (left, top), (right, bottom) = self._at((low, value)), self._at((high, self.y.low))
        width = max(right - left - 1, 0.5)
        self._marks.append(
            f'<rect class="bar {colour}" x="{left}" y="{top}" width="{width:.1f}" height="{bottom - top:.1f}">'
            f"<title>{escape(label)}</title></rect>"
        )

    def to_svg(self) -> str:
        """Returns the chart as an HTML element that needs only the page's CSS."""
        grid = []
        for tick in self.x.ticks():
            x, _ = self._at((tick, self.y.low))
            grid.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
            grid.append(f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 15}" text-anchor="middle">{tick_text(tick)}</text>')
        for tick in self.y.ticks():
            _, y = self._at((self.x.low, tick))
            grid.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
            grid.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>')
        middle_x, middle_y = (_LEFT + _WIDTH - _RIGHT) / 2, (_TOP + _HEIGHT - _BOTTOM) / 2
        labels = (
            f'<text class="label" x="{middle_x}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(self.x.label)}</text>'
            f'<text class="label" transform="translate(13 {middle_y}) rotate(-90)" text-anchor="middle">'
            f"{escape(self.y.label)}</text>"
        )
        svg = (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self.title)}">'
            f"<title>{escape(self.title)}</title><desc>{escape(self.about)}</desc>"
            f"{''.join(grid)}{labels}{''.join(self._marks)}</svg>"
        )
        keys = "".join(f'<span><i class="key {colour}"></i>{escape(name)}</span>' for colour, name in self._legend)
        legend = f'<div class="legend">{keys}</div>' if keys else ""
        return f"<figure><figcaption>{escape(self.title)}</figcaption>{legend}{svg}</figure>"

    def _at(self, point: tuple[float, float]) -> tuple[float, float]:
        x = _LEFT + self.x.place(point[0]) * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - self.y.place(point[1]) * (_HEIGHT - _TOP - _BOTTOM)
        return round(x, 1), round(y, 1)


def axis_over(label: str, values: Sequence[float], *, may_log: bool = False, margin: float = 0.04) -> Axis:
    """Returns an axis that shows all values; logarithmic if allowed and if the values span more than a factor of 30."""
    low, high = min(values), max(values)
    if may_log and low > 0 and high / low > 30:
        return Axis(label=label, low=low, high=high, log=True)
    pad = (high - low) * margin or abs(high) * margin or 1.0
    return Axis(label=label, low=low - pad, high=high + pad)


def tick_text(value: float) -> str:
    """Formats a round number briefly."""
    if value == 0 or abs(value) < 1e-12:
        return "0"
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if limit <= abs(value) < 1e12:
            divisor = 1e3 if letter == "k" else limit
            return f"{value / divisor:g}{letter}"
    return f"{value:.6g}".replace("-", "−")


def _round_step(step: float) -> float:
    """Returns the smallest 1, 2 or 5 times a power of ten that is at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= step * (1 - 1e-9)), 10 * power)
