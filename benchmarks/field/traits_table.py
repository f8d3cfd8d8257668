"""The table of traits, in Markdown: a column for each server."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from benchmarks.field.traits import BAD_ROWS, CLIENTS, Burst, Loss, Traits


def traits_table(found: Mapping[str, Traits]) -> str:
    """Returns the table; where a cell has two figures, these are the median and, in brackets, the largest.

    Args:
        found: results by the name of the server.
    """
    lines = [f"| | {' | '.join(found)} |", f"|---|{'--:|' * len(found)}"]
    for bad in BAD_ROWS:
        bursts = [[burst for burst in traits.bursts if burst.bad == bad] for traits in found.values()]
        what = f"one row of {CLIENTS} sent at once has {bad}"
        lines.append(_line(f"{what}: good rows answered", map(_answered, bursts)))
        lines.append(_line(f"{what}: status of the bad one", map(_statuses, bursts)))
    for what, seconds, losses in (
        ("`kill -9` of a worker", "until answers again", [traits.kills for traits in found.values()]),
        ("SIGTERM", "until all processes have ended", [traits.stops for traits in found.values()]),
    ):
        lines.append(_line(f"{what}: requests without an answer", _counts(losses, lambda loss: loss.unanswered)))
        lines.append(_line(f"{what}: requests answered with an error", _counts(losses, lambda loss: loss.errors)))
        lines.append(_line(f"{what}: seconds {seconds}", map(_seconds, losses)))
    return "\n".join(lines)


def _line(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | {' | '.join(cells)} |"


def _answered(bursts: Sequence[Burst]) -> str:
    return f"{sum(burst.answered for burst in bursts):,} of {sum(burst.good for burst in bursts):,}"


def _statuses(bursts: Sequence[Burst]) -> str:
    return ", ".join(sorted({"none" if burst.status is None else str(burst.status) for burst in bursts}))


def _counts(losses: Iterable[Sequence[Loss]], count: Callable[[Loss], int]) -> Iterable[str]:
    for of_one_server in losses:
        counts = [count(loss) for loss in of_one_server]
        yield f"{statistics.median(counts):g} ({max(counts)})"


def _seconds(losses: Sequence[Loss]) -> str:
    known = [loss.seconds for loss in losses if loss.seconds is not None]
    measured = f"{statistics.median(known):.2f} ({max(known):.2f})" if known else ""
    never = f"never in {len(losses) - len(known)} of {len(losses)}" if len(known) < len(losses) else ""
    return ", ".join(filter(None, (measured, never)))
