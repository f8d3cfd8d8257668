"""A comparison of a fitted model with baselines, as data, with a sentence that recommends one of the models.

All models answer the same test rows, so two models are compared row by row: the standard error of a difference is that
of the mean of paired differences. A difference within two standard errors does not count.
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

# A difference counts beyond this many standard errors, within which about 95 % of a normal distribution lie.
CLEAR = 2.0
TIMED_ROWS = 1_000
# With fewer test rows, a missing difference proves little.
FEW_ROWS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The lead of one model over another on the test part, in one measure.

    Attributes:
        of, over: names of the two models.
        measure: `accuracy`, `log_loss`, `balanced_accuracy` or `r2`.
        lead: difference in the measure, above 0 if `of` is better; for log loss, the lower value is better.
        error: standard error of the lead over the rows.
    """

    of: str
    over: str
    measure: str
    lead: float
    error: float

    @property
    def verdict(self) -> int:
        """The sign of a clear lead: 1 if `of` is clearly ahead, -1 if clearly behind, 0 if neither."""
        return 0 if abs(self.lead) <= CLEAR * self.error else int(math.copysign(1, self.lead))

    @property
    def in_words(self) -> str:
        """The lead and its standard error: `accuracy 1.2 points higher, standard error 0.8`."""
        return _figures(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """A baseline: another model, trained on the same rows.

    Attributes:
        name: name of the model in sentences.
        library: name of the library that trained the model.
        estimator: name of the library's class.
        metrics: metrics by part, `validation` and `test`.
        seconds: time of answers to `TIMED_ROWS` rows, which are in a matrix already, on one CPU thread.
    """

    name: str
    library: str
    estimator: str
    metrics: Mapping[str, Metrics]
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The comparison of a model with its baselines.

    Attributes:
        constant: metrics of the constant answer by part.
        ours: metrics of this model by part.
        baselines: the linear model, then the trees of each library.
        differences: differences between this model, the linear model and the trees that answer the validation part
            best, and of each to the constant answer; empty if the test part overlaps the training part.
        advice: sentence that recommends a model.
        preferred: recommended model, `OURS`, `LINEAR` or `TREES`; None if the advice names none or two.
        trees: library of the trees in the differences.
        seconds: time of this model, as that of a baseline.
        left_out: sentences on the libraries whose trees could not be trained.
    """

    constant: Mapping[str, Metrics]
    ours: Mapping[str, Metrics]
    baselines: tuple[Baseline, ...]
    differences: tuple[Difference, ...]
    advice: str
    preferred: str | None
    trees: str
    seconds: float
    left_out: tuple[str, ...] = ()

    @property
    def beside(self) -> str:
        """Sentences on the time that this model and the compared trees take to answer, and on what was left out."""
        return " ".join((self._latency, *self.left_out))

    @property
    def _latency(self) -> str:
        trees = next(one for one in self.baselines if (one.name, one.library) == (TREES, self.trees))
        name = _trees_named(self.trees if len(self.baselines) > 2 else None)
        return (
            f"Answers to {TIMED_ROWS:,} rows in memory took this model {_milliseconds(self.seconds)} and {name} "
            f"{_milliseconds(trees.seconds)} on one thread here."
        )

    def side_by_side(self, parts: Sequence[str] = PARTS) -> tuple[list[str], list[list[str]]]:
        """Returns the head and the rows of a table with one row for each metric of each part."""
        models = [(CONSTANT, self.constant), (OURS, self.ours)]
        models += [(baseline.estimator, baseline.metrics) for baseline in self.baselines]
        names = [name for name in dict.fromkeys(self.ours["test"]) if name not in ("rows", "targets")]
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
        """Converts to JSON types."""
        return {
            "constant": {part: dict(metrics) for part, metrics in self.constant.items()},
            "ours": {part: dict(metrics) for part, metrics in self.ours.items()},
            "baselines": [asdict(baseline) for baseline in self.baselines],
            "differences": [asdict(difference) for difference in self.differences],
            "advice": self.advice,
            "preferred": self.preferred,
            "trees": self.trees,
            "seconds": self.seconds,
            "left_out": list(self.left_out),
        }


def difference_of(of: str, over: str, measure: str, leads: NDArray[np.float64]) -> Difference:
    """Computes a difference from `leads`, `(rows,)` float64: the lead of `of` over `over` in each row."""
    error = float(leads.std(ddof=1)) / math.sqrt(len(leads)) if len(leads) > 1 else 0.0
    return Difference(of=of, over=over, measure=measure, lead=float(leads.mean()), error=error)


def balanced_gains(is_right: NDArray[np.bool_], truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns the contributions of rows to the balanced accuracy, `(rows,)`, with this accuracy as their mean.

    Balanced accuracy is the mean recall of the classes. The deviation of a row from the recall of its class counts by
    the weight of the class, so that the spread of the contributions is that of the recalls.

    Args:
        is_right: `(rows,)` True for a right answer.
        truth: `(rows,)` class indices.
    """
    counts = np.bincount(truth)
    present = counts > 0
    recall = np.bincount(truth, is_right) / np.maximum(counts, 1)  # (classes,)
    weight = len(truth) / (present.sum() * np.maximum(counts, 1))
    return np.asarray(recall[present].mean() + weight[truth] * (is_right - recall[truth]))


def preferred(differences: Sequence[Difference]) -> str | None:
    """Returns the model that `advice` recommends; None if the advice names none or two."""
    sentence = advice(differences, rows=FEW_ROWS)
    named = {"Use the linear model:": LINEAR, "Use gradient boosting:": TREES, "Use this model:": OURS}
    return next((model for begin, model in named.items() if sentence.startswith(begin)), None)


def advice(differences: Sequence[Difference], *, rows: int, library: str | None = None) -> str:
    """Returns a sentence that recommends one of the three models, or none if the constant answer is as good.

    The linear model is the simplest one, so it is recommended if clearly behind neither of the others.

    Args:
        differences: differences between the three models, and of each to the constant answer.
        rows: number of rows of the test part.
        library: library of the trees, to tell them from those of other libraries; None if there are no others.
    """
    trees_named = _trees_named(library)
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
            return f"Use the linear model: it is better than this one ({_in_words(linear)})."
        return f"Use the linear model: it is as good as this one ({_in_words(linear)}), and simpler.{caution}"
    if _verdict(trees) > 0:
        return f"Use {trees_named}: it is better than this model ({_in_words(trees)})."
    if _verdict(trees) < 0:
        too = f", and so is the linear model ({_in_words(linear)})" if _verdict(linear) < 0 else ""
        return f"Use this model: {trees_named} is behind it ({_in_words(trees)}){too}."
    if _is_mixed(trees):
        return f"Choose by the measure that counts: of this model, {trees_named} has {_in_words(trees)}."
    return f"Use either this model or {trees_named}: they cannot be told apart ({_in_words(trees)}).{caution}"


def advice_for_linear(
    differences: Sequence[Difference], *, rows: int, library: str | None = None
) -> tuple[str, str | None]:
    """Returns a sentence that recommends this linear model or the trees, and the recommended one, if any.

    Args:
        differences: differences as in `advice`.
        rows: number of rows of the test part.
        library: library of the trees, as in `advice`.
    """
    trees_named = _trees_named(library)
    trees = [d for d in differences if (d.of, d.over) == (TREES, OURS)]
    if not trees:
        return advice(trees, rows=rows), None
    if none := _none_is_ahead(differences, rows=rows):
        return none, None
    if _is_mixed(trees):
        return (
            f"Choose by the measure that counts: of this linear model, {trees_named} has {_in_words(trees)}.",
            None,
        )
    if _verdict(trees) > 0:
        return f"Use {trees_named}: it is better than this linear model ({_in_words(trees)}).", TREES
    caution = f" With {rows} test rows, only a large difference would show." if rows < FEW_ROWS else ""
    return f"Use this model: it is linear, and {trees_named} is no better ({_in_words(trees)}).{caution}", OURS


def _trees_named(library: str | None) -> str:
    return TREES if library is None else f"{TREES} ({library})"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms"


def _none_is_ahead(differences: Sequence[Difference], *, rows: int) -> str:
    """Returns a sentence if no model is clearly better than the constant answer in any measure; else an empty text."""
    over = [d for d in differences if d.over == CONSTANT]
    if not over or any(d.verdict > 0 for d in over):
        return ""
    ours = [d for d in over if d.of == OURS]
    return (
        f"No model is clearly better than the constant answer, which looks at no column (this one: {_in_words(ours)}): "
        f"the columns do not tell the target, or {rows} test rows are too few to show it."
    )


def _verdict(differences: Sequence[Difference]) -> int:
    """Returns 1 if the first model is clearly ahead in a measure and clearly behind in none, -1 vice versa, else 0."""
    verdicts = {difference.verdict for difference in differences} - {0}
    return verdicts.pop() if len(verdicts) == 1 else 0


def _is_mixed(differences: Sequence[Difference]) -> bool:
    """Returns True if the first model is clearly ahead in one measure and clearly behind in another."""
    return {difference.verdict for difference in differences} >= {1, -1}


def _in_words(differences: Sequence[Difference]) -> str:
    """Formats differences: `accuracy 1.2 points higher, standard error 0.8`."""
    return "; ".join(map(_figures, differences))


def _figures(difference: Difference) -> str:
    measure = metric_name(difference.measure)
    is_points = difference.measure in ("accuracy", "balanced_accuracy")
    lead, error = (
        f"{100 * value:.1f}" if is_points else f"{value:.3f}" for value in (abs(difference.lead), difference.error)
    )
    # A lead in log loss is a lower log loss.
    higher = (difference.lead > 0) != (difference.measure == "log_loss")
    word = (
        "the same"
        if difference.lead == 0
        else f"{lead}{' points' if is_points else ''} {'higher' if higher else 'lower'}"
    )
    return f"{measure} {word}, standard error {error}"
