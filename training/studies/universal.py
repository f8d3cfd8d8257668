"""Study `universal`: limits of the universal approximation theorem, in size, learning and generalisation.

The theorem (Cybenko 1989, Hornik 1991; study `approximation`) says that one hidden layer approximates a continuous
function to any accuracy if it is wide enough. The study measures on sines the three questions that it leaves open:

- Size: the width that is needed. A ReLU layer of m units is piecewise linear with at most m turns on the line, so 2k
  half-waves need at least 2k - 2 units, for all weights. In d dimensions, the size of a grid of such pieces grows with
  the exponent d (Barron 1993, Universal approximation bounds for superpositions of a sigmoidal function, shows for
  which functions fewer units suffice).
- Learning: the weights that training finds. Gradient descent learns slow waves long before fast ones (Rahaman et al.
  2019, On the spectral bias of neural networks).
- Generalisation: the answers for other rows. A network through n noisy points has no error at the points, and elsewhere
  the error of the noise: with straight lines, √⅔ of the noise at best, since (1 - t)² + t² is ⅔ on average (see also
  Zhang et al. 2017, Understanding deep learning requires rethinking generalization).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies.joined_points import joined
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WAVES, _QUICK_WAVES = (1, 2, 4, 8, 16), (1, 8)
ROWS, _QUICK_ROWS = (16, 64, 256, 1024), (64, 1024)
WANTED = 0.1  # greatest error
NOISE = 0.3  # standard deviation
FEW_UNITS = 8
_STEPS = 1500
_LEARNING_RATES = (0.003, 0.01, 0.03)
_MOMENTUM = 0.9
_POINTS, _MEASURED = 257, 4001


def wave(x: NDArray[np.float64], waves: int) -> NDArray[np.float64]:
    """Computes sin 2πkx for any shape of x."""
    return np.sin(2 * np.pi * waves * x)


@dataclass(frozen=True, kw_only=True, slots=True)
class WaveRun:
    """The approximation of a sine of k waves on [0, 1] by networks of one width.

    Attributes:
        waves: number of waves k.
        least_units: lower bound of the number of units with which a ReLU layer can have an error below 1.
        units: width of the constructed network with a greatest error of at most 0.1.
        constructed: root mean squared error of that network.
        trained: root mean squared error of the best network of that width after gradient descent.
    """

    waves: int
    least_units: int
    units: int
    constructed: float
    trained: float


@dataclass(frozen=True, kw_only=True, slots=True)
class NoisyRun:
    """Networks for n noisy rows of one wave.

    Attributes:
        rows: number of rows n.
        exact_on_rows: root mean squared error, on the rows, of the network that passes through all rows.
        exact: root mean squared error of that network against the noiseless wave, over [0, 1].
        few_on_rows: root mean squared error, on the rows, of a ReLU layer of 8 units, fitted by least squares.
        few: root mean squared error of those 8 units against the noiseless wave, over [0, 1].
        few_beyond: root mean squared error of those 8 units over [1, 2], outside the rows.
    """

    rows: int
    exact_on_rows: float
    exact: float
    few_on_rows: float
    few: float
    few_beyond: float


@dataclass(frozen=True, kw_only=True)
class UniversalResult(StudyResult):
    """The measurements of size, learning and generalisation.

    Attributes:
        wave_runs: one run for each number of waves.
        noisy_runs: one run for each number of rows.
        example: noisy rows x and y of one run, both (rows,), for the plot.
    """

    claim: ClassVar[str] = (
        "That some wide layer approximates a function says nothing of its width, of whether training finds it, or of "
        "other rows: units grow with the waves, gradient descent misses weights that can be written down, and an exact "
        "fit of noisy rows keeps √⅔ of the noise."
    )
    wave_runs: tuple[WaveRun, ...]
    noisy_runs: tuple[NoisyRun, ...]
    example: tuple[NDArray[np.float64], NDArray[np.float64]]

    @property
    def holds(self) -> bool:
        """True if the run shows all three limits.

        The number of units grows at least like the number of waves. With the most waves, the trained error is more than
        five times the constructed one. With the most rows, the error of the exact fit is √⅔ of the noise, to a tenth,
        and more than twice the error of eight units.
        """
        first, last = self.wave_runs[0], self.wave_runs[-1]
        size = last.units / first.units >= 0.9 * last.waves / first.waves
        size &= all(run.least_units <= run.units for run in self.wave_runs)
        noisy = self.noisy_runs[-1]
        generalisation = abs(noisy.exact / kept_noise() - 1) < 0.1 and noisy.exact > 2 * noisy.few
        return size and last.trained > 5 * last.constructed and generalisation and noisy.exact_on_rows < 1e-6

    @property
    def verdict(self) -> str:
        """The main figures of the three parts."""
        first, last, noisy = self.wave_runs[0], self.wave_runs[-1], self.noisy_runs[-1]
        return (
            f"Size: {first.units} units for {_counted(first.waves)}, {last.units} for {_counted(last.waves)}; "
            f"learning: at {_counted(last.waves)} gradient descent errs by {last.trained:.3g} where {last.units} units "
            f"with an error of {last.constructed:.3g} can be written down; generalisation: {noisy.rows:,} noisy rows "
            f"met exactly leave {noisy.exact:.3f} elsewhere (√⅔ of the noise is {kept_noise():.3f}), {FEW_UNITS} units "
            f"{noisy.few:.3f}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns size and learning by waves, and generalisation by rows."""
        waves = StudyTable(
            title=f"Size and learning: sin 2πkx on [0, 1], greatest error at most {WANTED}; errors are RMS",
            columns=("waves k", "units, at least", "written down", "its error", "error, trained"),
            rows=tuple((r.waves, r.least_units, r.units, r.constructed, r.trained) for r in self.wave_runs),
        )
        noisy = StudyTable(
            title=f"Generalisation: one wave with noise of {NOISE}, of which √⅔ is {kept_noise():.3f}; errors are RMS",
            columns=(
                "rows",
                "n units: on rows",
                "elsewhere",
                f"{FEW_UNITS} units: on rows",
                "elsewhere ",
                "on [1, 2]",
            ),
            rows=tuple((r.rows, r.exact_on_rows, r.exact, r.few_on_rows, r.few, r.few_beyond) for r in self.noisy_runs),
        )
        return waves, noisy

    def draw(self, figure: Figure) -> None:
        """Draws size, learning and generalisation from left to right."""
        from training.plotting.style import BLUE, GREY, INK, ORANGE, label, whole_ticks

        size, learning, general = figure.subplots(1, 3, width_ratios=(1, 1, 1.4))
        waves = tuple(run.waves for run in self.wave_runs)
        bounded = [run for run in self.wave_runs if run.least_units]
        least = [run.least_units for run in bounded]
        size.plot([run.waves for run in bounded], least, "--", color=GREY, label="at least")
        size.plot(waves, [r.units for r in self.wave_runs], "s-", color=ORANGE, label="written down")
        learning.plot(waves, [r.constructed for r in self.wave_runs], "s-", color=ORANGE, label="written down")
        learning.plot(waves, [r.trained for r in self.wave_runs], "o-", color=BLUE, label="gradient descent")
        for axes in (size, learning):
            axes.set(xscale="log", yscale="log")
            whole_ticks(axes, waves)
            axes.legend()
        learning.set_ylim(0.02, 2)
        learning.axhline(2**-0.5, color=INK, linestyle=":", linewidth=1.2)
        learning.text(waves[0], 0.75, "answering 0 always", fontsize=8)
        label(size, title="Size: units it takes", x="waves", y="hidden units")
        label(learning, title="Learning: as many units", x="waves", y="error, RMS")
        x, y = self.example
        side = np.linspace(0, 1.3, 1001)
        general.plot(x, y, color=ORANGE, linewidth=0.9, label="through every row")
        general.plot(x, y, "o", color=ORANGE, markersize=2.5)
        general.plot(side, few_units(x, y).forward(side[:, None])[:, 0], color=BLUE, label=f"{FEW_UNITS} units")
        general.plot(side, wave(side, 1), color=INK, linewidth=3, alpha=0.25, label="without noise")
        general.axvspan(1, 1.3, color=GREY, alpha=0.12, linewidth=0)
        general.text(1.15, -1.4, "no rows", ha="center", fontsize=8)
        general.set_ylim(-2.6, 2)
        general.legend(loc="lower left")
        label(general, title=f"Generalisation: {len(x)} noisy rows", x="x", y="value")


def run(*, seed: int = 0, quick: bool = False) -> UniversalResult:
    """Measures size and learning by waves, and generalisation by rows.

    Args:
        seed: seed of initial weights, rows and noise.
        quick: True for fewer waves and rows.
    """
    rng = np.random.default_rng(seed)
    waves, rows = (_QUICK_WAVES, _QUICK_ROWS) if quick else (WAVES, ROWS)
    tables = [_noisy_rows(n, rng) for n in rows]
    return UniversalResult(
        wave_runs=tuple(_run_waves(k, seed=seed) for k in waves),
        noisy_runs=tuple(_run_noisy(x, y) for x, y in tables),
        example=tables[0 if quick else 1],
    )


def kept_noise() -> float:
    """Returns √⅔ of the noise: the RMS error between noisy points that are joined by straight lines."""
    return float((2 / 3) ** 0.5 * NOISE)


def constructed(waves: int, units: int) -> NumpyMLP:
    """Constructs the network that joins points of the sine at equal distances on [0, 1]."""
    knots = np.linspace(0, 1, units + 1)
    config, tensors = joined(knots, wave(knots, waves))
    return NumpyMLP.from_tensors(config, tensors, dtype=np.float64)


def few_units(x: NDArray[np.float64], y: NDArray[np.float64]) -> NumpyMLP:
    """Fits the outer weights of a layer of 8 ReLU units with turns spread over [0, 1], by least squares.

    Args:
        x: (rows,) positions.
        y: (rows,) values.
    """
    knots = np.linspace(0, 1, FEW_UNITS + 1)
    hat = np.eye(FEW_UNITS + 1)  # a piecewise linear function is a sum of hat functions, one for each knot
    basis = np.stack([np.interp(x, knots, row) for row in hat], axis=1)  # (rows, 9)
    values, *_ = np.linalg.lstsq(basis, y, rcond=None)  # (9,)
    config, tensors = joined(knots, values.astype(np.float64))
    return NumpyMLP.from_tensors(config, tensors, dtype=np.float64)


def _run_waves(waves: int, *, seed: int) -> WaveRun:
    x = np.linspace(0, 1, _MEASURED)[:, None]  # (4001, 1)
    y = wave(x, waves)
    units = 1
    while np.abs(constructed(waves, units).forward(x) - y).max() > WANTED:
        units += 1
    return WaveRun(
        waves=waves,
        least_units=2 * waves - 2,
        units=units,
        constructed=_rms(constructed(waves, units).forward(x) - y),
        trained=min(_rms(_train(waves, units, rate, seed=seed).forward(x) - y) for rate in _LEARNING_RATES),
    )


def _train(waves: int, units: int, learning_rate: float, *, seed: int) -> NumpyMLP:
    """Trains a ReLU layer by gradient descent with momentum; the initial turns are spread over the interval."""
    rng = np.random.default_rng(seed)
    signs, turns = rng.choice([-1.0, 1.0], units), rng.uniform(0, 1, units)
    config = MLPConfig(layer_sizes=(1, units, 1), activation="relu", output="linear")
    start = {
        "layers.0.weight": signs[:, None],
        "layers.0.bias": -signs * turns,
        "layers.1.weight": rng.normal(0, (2 / units) ** 0.5, (1, units)),
        "layers.1.bias": np.zeros(1),
    }
    network = NumpyMLP.from_tensors(config, start, dtype=np.float64)
    x = np.linspace(0, 1, _POINTS)[:, None]  # (257, 1)
    y = wave(x, waves)
    for _ in range(_STEPS):
        _, gradients = network.loss_and_gradients(x, y)
        network.update(gradients, learning_rate, momentum=_MOMENTUM)
    return network


def _noisy_rows(rows: int, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns positions from 0 to 1 and noisy values of one wave, both (rows,)."""
    x = np.linspace(0, 1, rows)
    return x, wave(x, 1) + rng.normal(0, NOISE, rows)


def _run_noisy(x: NDArray[np.float64], y: NDArray[np.float64]) -> NoisyRun:
    config, tensors = joined(x, y)
    exact = NumpyMLP.from_tensors(config, tensors, dtype=np.float64)
    few = few_units(x, y)
    side, beyond = np.linspace(0, 1, _MEASURED)[:, None], np.linspace(1, 2, _MEASURED)[:, None]  # (4001, 1)
    return NoisyRun(
        rows=len(x),
        exact_on_rows=_rms(exact.forward(x[:, None])[:, 0] - y),
        exact=_rms(exact.forward(side) - wave(side, 1)),
        few_on_rows=_rms(few.forward(x[:, None])[:, 0] - y),
        few=_rms(few.forward(side) - wave(side, 1)),
        few_beyond=_rms(few.forward(beyond) - wave(beyond, 1)),
    )


def _rms(errors: NDArray[np.floating]) -> float:
    return float(np.sqrt(np.square(errors).mean()))


def _counted(waves: int) -> str:
    return "1 wave" if waves == 1 else f"{waves} waves"


STUDY = Study(
    name="universal",
    about="what does universal approximation not say?",
    claim=UniversalResult.claim,
    run=run,
)
