"""Study `perceptron`: the number of mistakes of Rosenblatt's rule, which converges on separable rows but not on XOR.

Novikoff 1962, On convergence proofs on perceptrons: if a unit vector u separates the rows of two classes with margin γ,
and no row is longer than R, then the rule makes at most (R/γ)² mistakes, in any order of the rows. The bias is the
weight of an input that is always 1, so it counts in R and γ. Minsky & Papert 1969, Perceptrons: no hyperplane separates
XOR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.perceptron import Perceptron, PerceptronHistory
from training.studies.steps import steps
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGINS = (0.4, 0.2, 0.1, 0.05, 0.025)
_SEPARATOR = np.array([0.6, -0.8, 0.0])  # u over (x1, x2, 1), of length 1
_MAX_EPOCHS = 100_000  # far more than the bounds allow
XOR = (np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0]))


@dataclass(frozen=True, kw_only=True, slots=True)
class MarginRun:
    """The results of the rule on data of one margin.

    Attributes:
        margin: γ, the least distance of a row (x1, x2, 1) from the hyperplane that separates the classes.
        radius: R, the greatest length of such a row.
        mistakes: number of mistakes before the first epoch without one, for each order of the rows.
        epochs: number of epochs for each order of the rows.
        converged: True if the rule converged for every order.
    """

    margin: float
    radius: float
    mistakes: tuple[int, ...]
    epochs: tuple[int, ...]
    converged: bool

    @property
    def bound(self) -> float:
        """Novikoff's bound, (R/γ)²."""
        return (self.radius / self.margin) ** 2


@dataclass(frozen=True, kw_only=True)
class PerceptronResult(StudyResult):
    """The runs by margin, and the run on XOR."""

    claim: ClassVar[str] = (
        "Rosenblatt's rule makes at most (R/γ)² mistakes on classes that a hyperplane separates with margin γ, "
        "and on XOR it never stops making them."
    )
    runs: tuple[MarginRun, ...]
    xor: PerceptronHistory

    @property
    def holds(self) -> bool:
        """True if every order converged within the bound, and the weights on XOR returned to an earlier value."""
        return self.xor.cycled and all(run.converged and max(run.mistakes) <= run.bound for run in self.runs)

    @property
    def verdict(self) -> str:
        """The greatest share of the bound, and the end of the run on XOR."""
        most = max(max(run.mistakes) / run.bound for run in self.runs)
        return (
            f"At most {most:.1%} of the mistakes that the bound allows, over {len(self.runs)} margins and "
            f"{len(self.runs[0].mistakes)} orders of the rows; on XOR, after {self.xor.epochs} epochs, {self._xor_end}"
        )

    @property
    def _xor_end(self) -> str:
        if self.xor.cycle_length is None:
            return "no return of the weights was seen"
        before = "the epoch" if self.xor.cycle_length == 1 else f"{self.xor.cycle_length} epochs"
        return f"the weights were those of {before} before, and what follows repeats for ever"

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the figures by margin, and the mistakes on XOR by epoch."""
        margins = StudyTable(
            title=f"Separable points in the plane, {len(self.runs[0].mistakes)} orders of the rows",
            columns=("margin γ", "R", "mistakes, mean", "mistakes, most", "bound (R/γ)²", "epochs, most"),
            rows=tuple(
                (
                    run.margin,
                    run.radius,
                    float(np.mean(run.mistakes)),
                    max(run.mistakes),
                    int(run.bound),
                    max(run.epochs),
                )
                for run in self.runs
            ),
        )
        xor = StudyTable(
            title="XOR",
            columns=("epoch", "mistakes of 4"),
            rows=tuple((epoch, mistakes) for epoch, mistakes in enumerate(self.xor.mistakes, 1)),
        )
        return margins, xor

    def draw(self, figure: Figure) -> None:
        """Draws mistakes and bound against the margin on the left, and the mistakes on XOR by epoch on the right."""
        from training.plotting.style import BLUE, GREY, INK, ORANGE, label

        left, right = figure.subplots(1, 2, width_ratios=(1.6, 1))
        margins = [run.margin for run in self.runs]
        left.plot(margins, [run.bound for run in self.runs], "--", color=INK, label="Novikoff's bound (R/γ)²")
        for run in self.runs:
            left.plot([run.margin] * len(run.mistakes), run.mistakes, "o", color=BLUE, alpha=0.5, markeredgewidth=0)
        left.plot([], [], "o", color=BLUE, label="mistakes, one order of the rows")
        left.set(xscale="log", yscale="log")
        left.invert_xaxis()
        left.set_xticks(margins, [f"{margin:g}" for margin in margins])
        left.set_xticks([], minor=True)
        left.legend(loc="upper left")
        label(
            left,
            title="Separable: within the bound",
            x="margin γ (smaller is harder)",
            y="mistakes until there are none",
        )
        epochs = np.arange(1, self.xor.epochs + 1)
        right.bar(epochs, self.xor.mistakes, color=ORANGE, width=0.5)
        right.grid(visible=False, axis="x")
        right.set_xticks(epochs)
        right.set_ylim(0, 4.6)
        if self.xor.cycle_length is not None:
            start, end = self.xor.epochs - self.xor.cycle_length, self.xor.epochs
            right.annotate("", (start, 4.2), (end, 4.2), arrowprops={"arrowstyle": "<->", "color": GREY})
            right.text((start + end) / 2, 4.28, "the same weights again", ha="center", color=INK)
        label(right, title="XOR: round and round", x="epoch", y="mistakes of 4")


def run(*, seed: int = 0, quick: bool = False) -> PerceptronResult:
    """Runs the rule on separable points of several margins, in several orders, and on XOR.

    Args:
        seed: seed of the points and orders.
        quick: True for fewer margins and orders.
    """
    rng = np.random.default_rng(seed)
    margins, orders, rows = (MARGINS[:3], 3, 60) if quick else (MARGINS, 10, 120)
    runs = tuple(_run_margin(margin, orders=orders, rows=rows, rng=rng) for margin in steps(margins))
    # In a fixed order, an epoch is a function of the weights: if they return to an earlier value, the rule never ends.
    return PerceptronResult(runs=runs, xor=Perceptron(2).fit(*XOR, max_epochs=1000))


def _run_margin(margin: float, *, orders: int, rows: int, rng: np.random.Generator) -> MarginRun:
    x, y = separable_points(margin, rows=rows, rng=rng)
    extended = np.column_stack([x, np.ones(rows)])  # (rows, 3): factors of the weights and the bias
    distances = extended @ _SEPARATOR * np.where(y == 1, 1, -1)  # (rows,)
    histories = []
    for _ in range(orders):
        order = rng.permutation(rows)
        histories.append(Perceptron(2).fit(x[order], y[order], max_epochs=_MAX_EPOCHS))
    return MarginRun(
        margin=float(distances.min()),
        radius=float(np.linalg.norm(extended, axis=1).max()),
        mistakes=tuple(sum(history.mistakes) for history in histories),
        epochs=tuple(history.epochs for history in histories),
        converged=all(history.converged for history in histories),
    )


def separable_points(
    margin: float, *, rows: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Draws points of the square [-1, 1]² on both sides of a line, two at the margin and none nearer to the line.

    Returns:
        (rows, 2) points and (rows,) classes 0 and 1.
    """
    normal, along = _SEPARATOR[:2], np.array([0.8, 0.6])
    points = rng.uniform(-1, 1, (64 * rows, 2))
    points = points[np.abs(points @ normal) > margin][: rows - 2]
    points = np.concatenate([points, [margin * normal + 0.3 * along, -margin * normal - 0.3 * along]])
    return points, (points @ normal > 0).astype(np.int64)


STUDY = Study(
    name="perceptron",
    about="how many mistakes does Rosenblatt's rule make before it makes none?",
    claim=PerceptronResult.claim,
    run=run,
)
