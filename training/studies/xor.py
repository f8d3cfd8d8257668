"""Study `xor`: the 2-4-2 network, written from scratch in NumPy, learns XOR, which no perceptron can learn.

Rumelhart, Hinton & Williams 1986, Learning internal representations by error propagation, trained such networks on XOR.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from models.network.perceptron import Perceptron, PerceptronHistory
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

CONFIG = MLPConfig(layer_sizes=(2, 4, 2), activation="tanh", initialization="xavier")
ROWS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64)
CLASSES = np.array([0, 1, 1, 0])
LEARNING_RATE, MOMENTUM = 0.2, 0.9
_GRID = 81  # points along each side of the plot's square
_SQUARE = (-0.4, 1.4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """The network after a number of steps: the loss, and the predicted probability of class 1 for each row."""

    step: int
    loss: float
    probabilities: tuple[float, ...]

    @property
    def right(self) -> int:
        """The number of right answers, of four."""
        return int(((np.array(self.probabilities) > 0.5) == CLASSES).sum())


@dataclass(frozen=True, kw_only=True)
class XorResult(StudyResult):
    """A training run of the 2-4-2 network, and one of a perceptron on the same rows.

    Attributes:
        losses: loss before each step, over a batch of all four rows, and after the last step.
        snapshots: states of the network at the start, after 1, 2, 4, 8, … steps, and at the end.
        surface: (81, 81) probability of class 1 over the square [-0.4, 1.4]², at the end.
        perceptron_surface: (81, 81) class of the perceptron over the same square, when its weights first repeat.
        perceptron: history of the perceptron's run.
        perceptron_right: number of right answers of the perceptron when its weights first repeat.
    """

    claim: ClassVar[str] = "One hidden layer of four units learns XOR; a perceptron, which has none, cannot."
    losses: tuple[float, ...]
    snapshots: tuple[Snapshot, ...]
    surface: NDArray[np.float64]
    perceptron_surface: NDArray[np.float64]
    perceptron: PerceptronHistory
    perceptron_right: int

    @property
    def holds(self) -> bool:
        """True if the network answers all four rows right at the end, and the perceptron's weights repeat."""
        return self.snapshots[-1].right == 4 and self.perceptron.cycled

    @property
    def verdict(self) -> str:
        """The first step with four right answers, the losses, and the perceptron's result."""
        first = next((s.step for s in self.snapshots if s.right == 4), None)
        ended = "was caught in a cycle" if self.perceptron.cycled else "was still learning"
        reached = f"all 4 rows right by step {first}" if first is not None else "not all rows right"
        return (
            f"The network: {reached}, loss {self.losses[0]:.3f} → {self.losses[-1]:.5f}; "
            f"the perceptron {ended}, with {self.perceptron_right} of 4 right"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the losses and predictions of the snapshots."""
        columns = ("step", "loss", *(f"p(1 | {a:.0f} {b:.0f})" for a, b in ROWS), "right of 4")
        rows = tuple((s.step, s.loss, *s.probabilities, s.right) for s in self.snapshots)
        return (StudyTable(title="The 2-4-2 network, tanh, gradient descent", columns=columns, rows=rows),)

    def draw(self, figure: Figure) -> None:
        """Draws the loss by step, and the answers of perceptron and network over the plane."""
        from training.plotting.style import BLUE, INK, label

        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.15))
        left.plot(self.losses, color=BLUE)
        left.axhline(np.log(2), color=INK, linestyle=":", linewidth=1.2)
        left.text(len(self.losses) - 1, np.log(2) * 1.08, "a coin's loss, ln 2", ha="right", va="bottom")
        left.set(yscale="log", ylim=(min(0.1, 0.7 * min(self.losses)), max(1.0, 1.3 * max(self.losses))))
        label(left, title="The loss of the 2-4-2 network", x="step", y="cross-entropy, nats")
        _draw_plane(middle, self.perceptron_surface)
        label(middle, title=f"Perceptron: {self.perceptron_right} of 4 right", x="x1", y="x2")
        image = _draw_plane(right, self.surface)
        figure.colorbar(image, ax=right, label="probability of class 1", shrink=0.55)
        label(right, title=f"MLP: {self.snapshots[-1].right} of 4 right", x="x1", y="x2")


def _draw_plane(axes: Axes, surface: NDArray[np.float64]) -> AxesImage:
    """Draws the answers over the square, the border at ½, and the four rows with the true classes.

    Args:
        axes: empty axes.
        surface: probability of class 1, (81, 81).
    """
    from matplotlib.colors import LinearSegmentedColormap

    from training.plotting.style import BLUE, ORANGE, border

    image = axes.imshow(
        surface,
        origin="lower",
        extent=(*_SQUARE, *_SQUARE),
        cmap=LinearSegmentedColormap.from_list("classes", [ORANGE, "white", BLUE]),
        vmin=0,
        vmax=1,
        alpha=0.5,
        interpolation="bilinear",
    )
    border(axes, np.linspace(*_SQUARE, _GRID), surface, 0.5)
    for (x1, x2), value in zip(ROWS, CLASSES, strict=True):
        axes.plot(x1, x2, "so"[value], color=(ORANGE, BLUE)[value], markersize=15)
        axes.text(x1, x2, str(value), color="white", ha="center", va="center_baseline", weight="bold")
    axes.grid(visible=False)
    axes.set_xticks((0, 0.5, 1))
    axes.set_yticks((0, 0.5, 1))
    return image


def run(*, seed: int = 0, quick: bool = False) -> XorResult:
    """Trains the network by gradient descent with momentum on all four rows, and a perceptron by its rule.

    Args:
        seed: seed of the initial weights.
        quick: 256 steps instead of 1,024.
    """
    steps = 256 if quick else 1024
    network = NumpyMLP(CONFIG, rng=np.random.default_rng(seed), dtype=np.float64)
    shown = {0, *(2**k for k in range(steps.bit_length()))}
    losses: list[float] = []
    snapshots: list[Snapshot] = []
    for step in range(steps + 1):
        loss, gradients = network.loss_and_gradients(ROWS, CLASSES)
        losses.append(loss)
        if step in shown:
            probabilities = tuple(network.predict_probabilities(ROWS)[:, 1].tolist())
            snapshots.append(Snapshot(step=step, loss=loss, probabilities=probabilities))
        if step < steps:
            network.update(gradients, LEARNING_RATE, momentum=MOMENTUM)
    side = np.linspace(*_SQUARE, _GRID)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)  # (81·81, 2), x1 varying first
    perceptron = Perceptron(2)
    history = perceptron.fit(ROWS, CLASSES, max_epochs=1000)
    return XorResult(
        losses=tuple(losses),
        snapshots=tuple(snapshots),
        surface=network.predict_probabilities(grid)[:, 1].reshape(_GRID, _GRID).astype(np.float64),
        perceptron_surface=perceptron.predict(grid).reshape(_GRID, _GRID).astype(np.float64),
        perceptron=history,
        perceptron_right=int((perceptron.predict(ROWS) == CLASSES).sum()),
    )


STUDY = Study(
    name="xor",
    about="can four hidden units learn what a perceptron cannot?",
    claim=XorResult.claim,
    run=run,
)
