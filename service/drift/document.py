"""The evaluation of drift as a document: JSON for programs, and a table for terminals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from models.columns.column import CategoricalColumn, DateColumn
from models.columns.dates import iso
from models.columns.labels import Label
from models.distributions.distributions import CategoryCounts, NumberCounts, prediction_kind
from models.distributions.evaluation import (
    FALSE_ALARMS,
    LEAST_PSI,
    LEAST_ROWS,
    LEAST_SHARE,
    Evaluation,
    Movement,
    Verdict,
)
from models.distributions.window import Window
from service.batching.served_version import ServedVersion

_SHOWN_NAMES = 5
_SHOWN_ROWS = 40  # of the table
_DIGITS = 5

OFF = "AXON_DRIFT is off: nothing is compared."
NO_DISTRIBUTIONS = (
    "The checkpoint carries no distributions of its training data: it was imported, or trained by an earlier Axon. "
    "Train the model again, and publish it as the next version."
)
NO_ROWS = "The current window has no rows yet."
NO_LAST = "No window is complete yet; ?window=current describes the one that grows."


def unavailable(served: ServedVersion, verdict: Verdict, reason: str) -> dict[str, Any]:
    """Returns the document of a version without an evaluation."""
    return {
        "model": served.name,
        "version": served.version,
        "verdict": verdict,
        "reason": reason,
        "flagged": [],
        "window": None,
        "current": None,
        "last": None,
        "false_alarms": FALSE_ALARMS,
        "least_psi": LEAST_PSI,
        "least_share": LEAST_SHARE,
        "training_rows": None,
        "columns_left_out": None,
        "features": [],
        "predictions": [],
    }


def drift_document(
    served: ServedVersion, training_rows: int, described: str, evaluations: dict[str, Evaluation]
) -> dict[str, Any]:
    """Returns the document of a version.

    Args:
        served: model version.
        training_rows: number of rows of the training part.
        described: window whose features the document has, `current` or `last`.
        evaluations: evaluations by `current` and `last`.
    """
    evaluation = evaluations[described]
    features = [movement for movement in evaluation.movements if movement.variable.column is not None]
    predictions = [movement for movement in evaluation.movements if movement.variable.column is None]
    return unavailable(served, evaluation.verdict, in_words(served, evaluation)) | {
        "flagged": [_name(movement, served) for movement in evaluation.flagged],
        "window": described,
        **windows_of(evaluations),
        "training_rows": training_rows,
        "columns_left_out": len(served.schema.columns) - len(features),
        "features": (_movement(movement, served) for movement in features),
        "predictions": [_movement(movement, served) for movement in predictions],
    }


def in_words(served: ServedVersion, evaluation: Evaluation) -> str:
    """Returns the verdict as a sentence."""
    rows, flagged = evaluation.window.rows, evaluation.flagged
    if evaluation.verdict == "too_few_rows":
        return f"{rows:,} rows were looked at; a verdict takes {LEAST_ROWS}."
    of = f"{len(evaluation.movements):,} columns and predictions"
    if not flagged:
        return f"None of {of} moved beyond chance in {rows:,} rows."
    names = ", ".join(f"{_name(one, served)} ({_what(one)})" for one in islice(flagged, _SHOWN_NAMES))
    more = f", and {len(flagged) - _SHOWN_NAMES:,} more" if len(flagged) > _SHOWN_NAMES else ""
    return f"{len(flagged):,} of {of} moved beyond chance in {rows:,} rows: {names}{more}."


def drift_text(served: ServedVersion, evaluation: Evaluation, described: str) -> Iterator[str]:
    """Yields the table for terminals, line by line."""
    yield f"{served}: {evaluation.verdict.replace('_', ' ')}"
    yield in_words(served, evaluation)
    window = evaluation.window
    yield f"Window ({described}): {_time(window.began)} to {_time(window.ended)}, {window.rows:,} rows"
    head = ("  Variable", "PSI", "Noise", "Threshold", "Gaps", "Outside", "Unknown")
    lines = [head, *(_line(movement) for movement in evaluation.movements[:_SHOWN_ROWS])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    for number, line in enumerate(lines):
        name, *figures = line
        cells = [figure.rjust(width) for figure, width in zip(figures, widths[1:], strict=True)]
        yield "  ".join((name.ljust(widths[0]), *cells)).rstrip()
        if not number:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))
    if len(evaluation.movements) > _SHOWN_ROWS:
        yield f"… and {len(evaluation.movements) - _SHOWN_ROWS:,} that moved less"


def _name(movement: Movement, served: ServedVersion) -> str:
    """Returns the name of a column or a prediction; that of one of several targets may be the name of a column, too."""
    name = movement.variable.name
    return f"{name} (predicted)" if movement.variable.column is None and served.targets is not None else name


def _what(movement: Movement) -> str:
    said = []
    for reason in movement.reasons:
        if reason == "values":
            said.append(f"PSI {movement.psi:.2f}")
        else:
            said.append(f"{reason.replace('_', ' ')} {movement.shares[reason].window:.1%}")
    return ", ".join(said)


def _line(movement: Movement) -> tuple[str, ...]:
    shares = (movement.shares.get(name) for name in ("gaps", "out_of_range", "unknown"))
    name = movement.variable.name
    return (
        f"{'!' if movement.flagged else ' '} {name if movement.variable.column is not None else f'({name} predicted)'}",
        f"{movement.psi:.3f}",
        f"{movement.noise:.3f}",
        "" if movement.threshold is None else f"{movement.threshold:.3f}",
        *("" if share is None else f"{share.window:.1%}" for share in shares),
    )


def windows_of(evaluations: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Returns what the document says of each window, by `current` and `last`; None for a window without rows."""
    return {which: _window(evaluations.get(which)) for which in ("current", "last")}


def _window(evaluation: Evaluation | None) -> dict[str, Any] | None:
    if evaluation is None:
        return None
    window: Window = evaluation.window
    return {
        "number": window.number,
        "began": _time(window.began),
        "ended": _time(window.ended),
        "rows": window.rows,
        "verdict": evaluation.verdict,
        "flagged": len(evaluation.flagged),
    }


def _movement(movement: Movement, served: ServedVersion) -> dict[str, Any]:
    """Returns the members of a `DriftOfVariable`."""
    column, name = movement.variable.column, movement.variable.name
    return {
        "name": name,
        "kind": prediction_kind(served.schema, name) if column is None else column.kind,
        "flagged": movement.flagged,
        "reasons": list(movement.reasons),
        "psi": _short(movement.psi),
        "noise": _short(movement.noise),
        "threshold": None if movement.threshold is None else _short(movement.threshold),
        "p_value": movement.p_value,
        "rows_per_independent_row": _short(movement.design_effect),
        "gaps": _share(movement, "gaps"),
        "out_of_range": _share(movement, "out_of_range"),
        "unknown": _share(movement, "unknown"),
        "edges": _edges(movement),
        "categories": _categories(movement, served),
        "training": [_short(share) for share in movement.training.tolist()],
        "window": [_short(share) for share in movement.window.tolist()],
    }


def _share(movement: Movement, name: str) -> dict[str, float] | None:
    share = movement.shares.get(name)
    if share is None:
        return None
    return {"training": _short(share.training), "window": _short(share.window), "p_value": share.p_value}


def _edges(movement: Movement) -> list[float] | list[str] | None:
    counts = movement.variable.counts
    if not isinstance(counts, NumberCounts):
        return None
    if isinstance(movement.variable.column, DateColumn):
        return [iso(edge) for edge in counts.edges]
    return list(counts.edges)


def _categories(movement: Movement, served: ServedVersion) -> list[Label | None] | None:
    """Returns the names of the bins; None stands for all other categories."""
    variable = movement.variable
    if not isinstance(variable.counts, CategoryCounts):
        return None
    column = variable.column
    names: Iterable[Label] = column.categories if isinstance(column, CategoricalColumn) else served.labels or ()
    all_names = list(names)
    known: list[Label | None] = [all_names[at] for at in variable.counts.categories]
    return known + [None] * (variable.bins - len(known))


def _short(number: float) -> float:
    """Returns a number with few digits; most of the others would be noise."""
    return 0.0 if not number else round(number, _DIGITS - 1 - math.floor(math.log10(abs(number))))


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
