"""Study `composition`: depth as composition of functions, shown with folds and with a trained part that is reused.

A network of k layers is the composition f_k ∘ … ∘ f_1 of its layers. Telgarsky 2016, Benefits of depth in neural
networks: a layer of two ReLU units folds [0, 1] in half, k such layers have 2ᵏ linear pieces, and one hidden layer of m
units has at most m + 1 pieces. On points with 2ᵏ alternating values, one hidden layer is therefore wrong on almost half
of the points unless it has about 2ᵏ units.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies import xor
from training.studies.joined_points import joined
from training.studies.parity import all_rows, parity
from training.studies.study import Study, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDS, _QUICK_FOLDS = (1, 2, 3, 4, 6, 8, 10), (1, 2, 3, 4)
LEVELS, _QUICK_LEVELS = (1, 2, 3, 4), (1, 2, 3)  # of XORs: 2, 4, 8 and 16 bits
_XOR_STEPS = 1024
_TRAINED_FOLDS = 4  # with more folds, training takes longer and shows the same
_TRIES, _STEPS = 3, 400
_LEARNING_RATE, _MOMENTUM = 0.05, 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldRun:
    """The composition of k folds, compared with one hidden layer.

    Attributes:
        folds: number of layers k.
        pieces: number of linear pieces counted on [0, 1].
        one_layer_units: number of units of the constructed network with one hidden layer and the same answers.
        one_layer_off: greatest difference between the two networks.
        points: number of points with alternating values 0 and 1, 2ᵏ + 1.
        wrong_at_least: least number of wrong points of any single layer with 2k units.
        wrong_trained: number of wrong points of the best trained single layer with 2k units; None without training.
    """

    folds: int
    pieces: int
    one_layer_units: int
    one_layer_off: float
    points: int
    wrong_at_least: int
    wrong_trained: int | None

    @property
    def units(self) -> int:
        """The number of hidden units of the deep network: two per layer."""
        return 2 * self.folds


@dataclass(frozen=True, kw_only=True, slots=True)
class ReusedXor:
    """A trained XOR network, composed several times into the parity of more bits, without more training.

    Attributes:
        bits: number of bits n.
        uses: number of uses of the network.
        parameters: number of learned parameters, the same for all numbers of bits.
        wrong_rows: number of wrong answers on all 2ⁿ rows.
        least_sure: smallest predicted probability of a true answer.
    """

    bits: int
    uses: int
    parameters: int
    wrong_rows: int
    least_sure: float


@dataclass(frozen=True, kw_only=True)
class CompositionResult(StudyResult):
    """The compositions of folds, and of XORs."""

    claim: ClassVar[str] = (
        "Composed layers multiply what one layer adds: k folds of two ReLU units have 2ᵏ linear pieces, for which one "
        "layer takes 2ᵏ units or one less; and XOR, learned once, composed with itself answers the parity of more bits."
    )
    folds: tuple[FoldRun, ...]
    xors: tuple[ReusedXor, ...]

    @property
    def holds(self) -> bool:
        """True if folds double the pieces, one layer agrees, training obeys the bound, and all parities are right."""
        doubled = all(run.pieces == run.one_layer_units == 2**run.folds for run in self.folds)
        agree = all(run.one_layer_off == 0 for run in self.folds)
        bounded = all(run.wrong_trained is None or run.wrong_trained >= run.wrong_at_least for run in self.folds)
        return doubled and agree and bounded and all(xors.wrong_rows == 0 for xors in self.xors)

    @property
    def verdict(self) -> str:
        """The figures of the deepest fold, and of the most bits."""
        deep, most = self.folds[-1], self.xors[-1]
        return (
            f"{deep.units} units in {deep.folds} layers have {deep.pieces:,} pieces, and one layer of {deep.units} "
            f"units is wrong on at least {deep.wrong_at_least:,} of {deep.points:,} points; one XOR of "
            f"{most.parameters} parameters, used {most.uses} times, is right on {2**most.bits - most.wrong_rows:,} of "
            f"{2**most.bits:,} rows of {most.bits} bits"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the figures of folds and XORs."""
        folds = StudyTable(
            title="A fold of [0, 1], composed with itself; and one layer, of as many pieces, or of as many units",
            columns=("layers", "units", "pieces", "one layer", "points", "wrong, least", "trained"),
            rows=tuple(
                (r.folds, r.units, r.pieces, r.one_layer_units, r.points, r.wrong_at_least, r.wrong_trained)
                for r in self.folds
            ),
        )
        xors = StudyTable(
            title="XOR of XORs: a 2-4-2 network, trained on four rows and used again",
            columns=("bits", "used", "learned parameters", "rows", "wrong rows", "least sure"),
            rows=tuple((x.bits, x.uses, x.parameters, 2**x.bits, x.wrong_rows, x.least_sure) for x in self.xors),
        )
        return folds, xors

    def draw(self, figure: Figure) -> None:
        """Draws the composed folds, the numbers of units, and the errors of a single layer."""
        from training.plotting.style import BLUE, COLOURS, GREY, ORANGE, label

        left, middle, right = figure.subplots(1, 3, width_ratios=(1.2, 1, 1))
        x = np.linspace(0, 1, 1025)
        for i, k in enumerate((1, 2, 4)):
            left.plot(x, _folded(x, k) + 1.25 * (2 - i), color=COLOURS[i], linewidth=1.4)
            left.text(1.02, 1.25 * (2 - i) + 0.4, ("f", "f∘f", "f∘f∘f∘f")[i], color=COLOURS[i])
        left.set(yticks=[], xlim=(0, 1.25), xticks=(0, 0.5, 1))
        label(left, title="A fold, and folds of it", x="x", y="value")
        layers = [run.folds for run in self.folds]
        middle.plot(layers, [run.one_layer_units for run in self.folds], "s-", color=ORANGE, label="one layer: 2ᵏ")
        middle.plot(layers, [run.units for run in self.folds], "o-", color=BLUE, label="k layers: 2k")
        middle.set(yscale="log", xticks=layers)
        middle.legend()
        label(middle, title="Units for 2ᵏ pieces", x="folds k", y="hidden units")
        right.axhline(0.5, color=GREY, linestyle=":", linewidth=1.2)
        shares = [run.wrong_at_least / run.points for run in self.folds]
        right.plot(layers, shares, "s--", color=ORANGE, label="one layer: at least")
        trained = [run for run in self.folds if run.wrong_trained is not None]
        right.plot(
            [run.folds for run in trained],
            [(run.wrong_trained or 0) / run.points for run in trained],
            "^",
            color=ORANGE,
            alpha=0.6,
            label="one layer: trained",
        )
        right.plot(layers, [0.0] * len(layers), "o-", color=BLUE, label="k layers")
        right.set(ylim=(-0.03, 0.75), xticks=layers)
        right.legend(loc="upper left")
        label(right, title="Of points, wrong with 2k units", x="folds k", y="share")


def run(*, seed: int = 0, quick: bool = False) -> CompositionResult:
    """Composes folds, and copies of one trained XOR network.

    Args:
        seed: seed of the initial weights of the trained networks.
        quick: True for fewer folds and bits.
    """
    folds, levels = (_QUICK_FOLDS, _QUICK_LEVELS) if quick else (FOLDS, LEVELS)
    part = trained_xor(seed=seed)
    return CompositionResult(
        folds=tuple(_run_folds(k, seed=seed) for k in folds),
        xors=tuple(_run_xors(part, level) for level in levels),
    )


def deep_fold(folds: int) -> NumpyMLP:
    """Constructs k hidden layers of two ReLU units, each folding [0, 1] in half: 2·relu(u) - 4·relu(u - ½)."""
    config = MLPConfig(layer_sizes=(1, *(2,) * folds, 1), activation="relu", output="linear")
    tent, both, turn = np.array([[2.0, -4.0]]), np.ones((2, 1)), np.array([0.0, -0.5])
    tensors = {"layers.0.weight": both, "layers.0.bias": turn}
    for i in range(1, folds):
        tensors |= {f"layers.{i}.weight": both @ tent, f"layers.{i}.bias": turn}
    tensors |= {f"layers.{folds}.weight": tent, f"layers.{folds}.bias": np.zeros(1)}
    return NumpyMLP.from_tensors(config, tensors, dtype=np.float64)


def least_wrong(points: int, units: int) -> int:
    """Returns a lower bound on the wrong answers of any ReLU layer of m units on points with alternating values.

    The m + 1 linear pieces of the layer cross ½ at most m + 1 times, so its answers have at most m + 2 runs. A run of
    length l is right on at most ⌈l/2⌉ points. The best case is one long run, and runs of one point.

    Args:
        points: number of points.
        units: number of units m.
    """
    runs = units + 2
    return max(points - runs + 1, 0) // 2


def pieces(x: NDArray[np.float64], y: NDArray[np.float64]) -> int:
    """Counts the linear pieces of a function from values at points that include all turns; both (points,)."""
    slopes = np.diff(y) / np.diff(x)
    return 1 + int(np.count_nonzero(np.diff(slopes)))


def trained_xor(*, seed: int) -> NumpyMLP:
    """Trains the 2-4-2 network of study `xor`."""
    network = NumpyMLP(xor.CONFIG, rng=np.random.default_rng(seed), dtype=np.float64)
    for _ in range(_XOR_STEPS):
        _, gradients = network.loss_and_gradients(xor.ROWS, xor.CLASSES)
        network.update(gradients, xor.LEARNING_RATE, momentum=xor.MOMENTUM)
    return network


def composed(part: NumpyMLP, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Applies the trained XOR to pairs of bits, then to pairs of probabilities, until one value is left.

    Args:
        part: trained XOR network.
        rows: (rows, 2ᵏ) bits.

    Returns:
        (rows,) probability of an odd number of ones.
    """
    values = rows
    while values.shape[1] > 1:
        pairs = values.reshape(-1, 2)  # (rows · pairs, 2)
        values = part.predict_probabilities(pairs)[:, 1].reshape(len(rows), -1).astype(np.float64)
    return values[:, 0]


def _folded(x: NDArray[np.float64], folds: int) -> NDArray[np.float64]:
    return np.asarray(deep_fold(folds).forward(x[:, None])[:, 0], dtype=np.float64)


def _run_folds(folds: int, *, seed: int) -> FoldRun:
    x = np.linspace(
        0, 1, 4 * 2**folds + 1
    )  # four points per piece; multiples of a power of two, so arithmetic is exact
    y = _folded(x, folds)
    knots = np.linspace(0, 1, 2**folds + 1)
    config, tensors = joined(knots, _folded(knots, folds))
    one_layer = NumpyMLP.from_tensors(config, tensors, dtype=np.float64).forward(x[:, None])[:, 0]
    return FoldRun(
        folds=folds,
        pieces=pieces(x, y),
        one_layer_units=config.hidden_sizes[0],
        one_layer_off=float(np.abs(one_layer - y).max()),
        points=len(knots),
        wrong_at_least=least_wrong(len(knots), 2 * folds),
        wrong_trained=_least_trained(folds, seed=seed) if folds <= _TRAINED_FOLDS else None,
    )


def _least_trained(folds: int, *, seed: int) -> int:
    """Trains single layers of 2k units on the alternating points; returns the fewest wrong answers."""
    x = np.linspace(0, 1, 2**folds + 1)[:, None]  # (2ᵏ + 1, 1)
    y = np.arange(2**folds + 1) % 2  # (2ᵏ + 1,)
    config = MLPConfig(layer_sizes=(1, 2 * folds, 2), activation="relu")
    fewest = len(y)
    for attempt in range(_TRIES):
        network = NumpyMLP(config, rng=np.random.default_rng([seed, attempt]), dtype=np.float64)
        turns = np.random.default_rng([seed, attempt, 1]).uniform(0, 1, 2 * folds)
        # The turns are spread over the interval: with biases of zero, all units would turn at 0.
        network.parameters["layers.0.bias"] = -network.parameters["layers.0.weight"][:, 0] * turns
        for _ in range(_STEPS):
            _, gradients = network.loss_and_gradients(x, y)
            network.update(gradients, _LEARNING_RATE, momentum=_MOMENTUM)
        fewest = min(fewest, int((network.forward(x).argmax(axis=1) != y).sum()))
    return fewest


def _run_xors(part: NumpyMLP, level: int) -> ReusedXor:
    bits = 2**level
    rows = all_rows(bits)  # (2ⁿ, n)
    odd = parity(rows)  # (2ⁿ,)
    answered = composed(part, rows.astype(np.float64))
    sure = np.where(odd == 1, answered, 1 - answered)
    return ReusedXor(
        bits=bits,
        uses=bits - 1,
        parameters=part.config.parameter_count,
        wrong_rows=int((sure <= 0.5).sum()),
        least_sure=float(sure.min()),
    )


STUDY = Study(
    name="composition",
    about="what does composing layers buy that widening one does not?",
    claim=CompositionResult.claim,
    run=run,
)
