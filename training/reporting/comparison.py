"""A comparison: a fitted model beside its baselines, as data, and a sentence on which of them to use.

All models answer the same test rows, so a difference between two is judged row by row: its standard error is that of
the mean of paired differences, and a difference within two of them is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.metrics import Metrics
from training.reporting.figures import figure, metric_name

CONSTANT = "constant answer"
OURS, LINEAR, TREES = "this model", "the linear model", "gradient boosting"
PARTS = ("validation", "test")

# Beyond so many standard errors, a difference is taken for one: about 95 % of a normal distribution lie within.
CLEAR = 2.0
# With fewer rows than these in the test part, that none was found says little.
FEW_ROWS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """By how much one model is ahead of another on the test part, in one measure.

    Attributes:
        of, over: the two models' names.
        measure: `accuracy`, `log_loss` or `r2`.
        lead: above 0 where `of` is ahead; of log loss, how much lower it is.
        error: the standard error of the lead, over the rows.
    """

    of: str
    over: str
    measure: str
    lead: float
    error: float

    @property
    def verdict(self) -> int:
        """1 where `of` is clearly ahead, -1 where it is clearly behind, 0 where that cannot be told."""
        return 0 if abs(self.lead) <= CLEAR * self.error else int(math.copysign(1, self.lead))

    @property
    def in_words(self) -> str:
        """The lead and its standard error: `accuracy 1.2 points higher, standard error 0.8`."""
        return _figures(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """One other model, trained on the same rows.

    Attributes:
        name: what sentences call it.
        estimator: what it is in scikit-learn.
        metrics: by part: `validation` and `test`.
    """

    name: str
    estimator: str
    metrics: Mapping[str, Metrics]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A model beside its baselines.

    Attributes:
        constant: metrics of the constant answer by part.
        ours: this model's metrics by part.
        baselines: the linear model, then the trees.
        differences: between each two of the three, and of each over the constant answer; none where the test part is
            not apart from the training part.
        advice: a sentence on which to use.
        preferred: model that the advice names, `OURS`, `LINEAR` or `TREES`; None where it names none or two.
    """

    constant: Mapping[str, Metrics]
    ours: Mapping[str, Metrics]
    baselines: tuple[Baseline, ...]
    differences: tuple[Difference, ...]
    advice: str
    preferred: str | None = None

    def side_by_side(self, parts: Sequence[str] = PARTS) -> tuple[list[str], list[list[str]]]:
        """A table's head and its rows, a metric of a part each."""
        models = [(CONSTANT, self.constant), (OURS, self.ours)]
        models += [(baseline.estimator, baseline.metrics) for baseline in self.baselines]
        names = [name for name in dict.fromkeys(self.ours["test"]) if name != "rows"]
        rows = [
            [
                metric_name(name) if len(parts) == 1 else f"{metric_name(name)}, {part}",
                *(figure(metrics[part][name]) if name in metrics[part] else "" for _, metrics in models),
            ]
            for name in names
            for part in parts
        ]
        return ["", *(name for name, _ in models)], rows

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {
            "constant": {part: dict(metrics) for part, metrics in self.constant.items()},
            "ours": {part: dict(metrics) for part, metrics in self.ours.items()},
            "baselines": [asdict(baseline) for baseline in self.baselines],
            "differences": [asdict(difference) for difference in self.differences],
            "advice": self.advice,
            "preferred": self.preferred,
        }


def difference_of(of: str, over: str, measure: str, leads: NDArray[np.float64]) -> Difference:
    """The difference whose lead is the mean of `leads`, `(rows,)`: by how much `of` is ahead in each row."""
    error = float(leads.std(ddof=1)) / math.sqrt(len(leads)) if len(leads) > 1 else 0.0
    return Difference(of=of, over=over, measure=measure, lead=float(leads.mean()), error=error)


def preferred(differences: Sequence[Difference]) -> str | None:
    """The model that `advice` says to use; None where it names none, or two."""
    sentence = advice(differences, rows=FEW_ROWS)
    named = {"Use the linear model:": LINEAR, "Use gradient boosting:": TREES, "Use this model:": OURS}
    return next((model for begin, model in named.items() if sentence.startswith(begin)), None)


def advice(differences: Sequence[Difference], *, rows: int) -> str:
    """Which of the three models to use, in a sentence with its figures; none where the constant answer does as well.

    The linear model is preferred where it is clearly behind neither of the others, being the simplest.

    Args:
        differences: between each two, and of each over the constant answer.
        rows: of the test part.
    """
    if not differences:
        return "No rows are kept apart to test on, so these figures do not tell which model to use."
    if none := _none_is_ahead(differences, rows=rows):
        return none
    linear, trees, between = (
        [d for d in differences if (d.of, d.over) == pair] for pair in ((LINEAR, OURS), (TREES, OURS), (LINEAR, TREES))
    )
    caution = f" With {rows} test rows, only a large difference would show." if rows < FEW_ROWS else ""
    if _verdict(linear) >= 0 and _verdict(between) >= 0 and not _is_mixed(linear) and not _is_mixed(between):
        if _verdict(linear) > 0:
            return f"Use the linear model: it is better than this one ({_told(linear)})."
        return f"Use the linear model: it is as good as this one ({_told(linear)}), and simpler.{caution}"
    if _verdict(trees) > 0:
        return f"Use gradient boosting: it is better than this model ({_told(trees)})."
    if _verdict(trees) < 0:
        too = f", and so is the linear model ({_told(linear)})" if _verdict(linear) < 0 else ""
        return f"Use this model: gradient boosting is behind it ({_told(trees)}){too}."
    if _is_mixed(trees):
        return f"Choose by the measure that counts: of this model, gradient boosting has {_told(trees)}."
    return f"Use either this model or gradient boosting: they cannot be told apart ({_told(trees)}).{caution}"


def advice_for_linear(differences: Sequence[Difference], *, rows: int) -> tuple[str, str | None]:
    """Returns a sentence on which to use, this linear model or the trees, and the preferred one of them, if any.

    Args:
        differences: as `advice` takes them.
        rows: of the test part.
    """
    trees = [d for d in differences if (d.of, d.over) == (TREES, OURS)]
    if not trees:
        return advice(trees, rows=rows), None
    if none := _none_is_ahead(differences, rows=rows):
        return none, None
    if _is_mixed(trees):
        return f"Choose by the measure that counts: of this linear model, gradient boosting has {_told(trees)}.", None
    if _verdict(trees) > 0:
        return f"Use gradient boosting: it is better than this linear model ({_told(trees)}).", TREES
    caution = f" With {rows} test rows, only a large difference would show." if rows < FEW_ROWS else ""
    return f"Use this model: it is linear, and gradient boosting is no better ({_told(trees)}).{caution}", OURS


def _none_is_ahead(differences: Sequence[Difference], *, rows: int) -> str:
    """A sentence where no model is clearly ahead of the constant answer in any measure; else nothing."""
    over = [d for d in differences if d.over == CONSTANT]
    if not over or any(d.verdict > 0 for d in over):
        return ""
    ours = [d for d in over if d.of == OURS]
    return (
        f"No model is clearly better than the constant answer, which looks at no column (this one: {_told(ours)}): "
        f"the columns do not tell the target, or {rows} test rows are too few to show it."
    )


def _verdict(differences: Sequence[Difference]) -> int:
    """1 where the first model is clearly ahead in a measure and clearly behind in none, -1 the other way, else 0."""
    verdicts = {difference.verdict for difference in differences} - {0}
    return verdicts.pop() if len(verdicts) == 1 else 0


def _is_mixed(differences: Sequence[Difference]) -> bool:
    """Whether the first model is clearly ahead in one measure and clearly behind in another."""
    return {difference.verdict for difference in differences} >= {1, -1}


def _told(differences: Sequence[Difference]) -> str:
    """The differences in figures, `accuracy 1.2 points higher, standard error 0.8`."""
    return "; ".join(map(_figures, differences))


def _figures(difference: Difference) -> str:
    measure = {"r2": "R²", "log_loss": "log loss"}.get(difference.measure, difference.measure)
    is_points = difference.measure == "accuracy"
    lead, error = (
        f"{100 * value:.1f}" if is_points else f"{value:.3f}" for value in (abs(difference.lead), difference.error)
    )
    # Of log loss, a lead is a lower one.
    higher = (difference.lead > 0) != (difference.measure == "log_loss")
    word = (
        "the same"
        if difference.lead == 0
        else f"{lead}{' points' if is_points else ''} {'higher' if higher else 'lower'}"
    )
    return f"{measure} {word}, standard error {error}"
