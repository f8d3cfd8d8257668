"""Study `depth`: the parity of n bits, by wide and shallow networks, and by narrow and deep ones.

Constructed networks (`parity.py`) and circuits of gates (`gates.py`) are checked on all 2ⁿ rows. Trained networks show
the gap between the functions that a network can represent and those that gradient descent finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies.gates import MAX_GATE_BITS, GateCount, count_gates
from training.studies.parity import CONSTRUCTIONS, MAX_BITS, MIN_BITS, all_rows, parity
from training.studies.steps import steps
from training.studies.study import Study, StudyOption, StudyResult, StudyTable, check_number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BITS, _QUICK_BITS = 12, 6
_MAX_TRAINED_BITS, _QUICK_TRAINED_BITS = 6, 4
_LEARNING_RATE, _MOMENTUM = 0.1, 0.9
_CHECK_EVERY = 50  # steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Constructed:
    """A network with constructed weights, and the number of rows with wrong answers."""

    bits: int
    name: str
    hidden_sizes: tuple[int, ...]
    parameters: int
    wrong_rows: int

    @property
    def hidden_units(self) -> int:
        """The number of hidden units."""
        return sum(self.hidden_sizes)


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedShape:
    """The results of networks of one shape, trained on all rows several times.

    Attributes:
        bits: number of bits.
        hidden_sizes: widths of the hidden layers.
        tries: number of training runs.
        learned: number of runs with right answers on all rows.
        best_accuracy: accuracy of the best run.
        fewest_steps: smallest number of steps of a run that learned all rows; None if no run did.
    """

    bits: int
    hidden_sizes: tuple[int, ...]
    tries: int
    learned: int
    best_accuracy: float
    fewest_steps: int | None


@dataclass(frozen=True, kw_only=True)
class DepthResult(StudyResult):
    """Constructed networks, circuits of gates, and trained networks."""

    claim: ClassVar[str] = (
        "The parity of n bits takes one hidden layer n ReLU units, and ⌈log₂ n⌉ hidden layers two each; of AND and OR "
        "gates, two layers take 2ⁿ⁻¹ + 1 and a tree 3(n - 1); all are right on all 2ⁿ rows."
    )
    constructed: tuple[Constructed, ...]
    gates: tuple[GateCount, ...]
    trained: tuple[TrainedShape, ...]

    @property
    def holds(self) -> bool:
        """True if constructed networks and circuits are right on all rows, with as many units and gates as claimed."""
        claimed = all(
            network.hidden_sizes == ((network.bits,) if network.name == "shallow" else (2,) * _log2(network.bits))
            for network in self.constructed
            if network.name != "tree"
        )
        gates = all(
            count.two_layers == 2 ** (count.bits - 1) + 1
            and count.widest == 1
            and count.tree == 3 * (count.bits - 1)
            and count.threshold_units == count.bits
            and count.wrong_rows == 0
            for count in self.gates
        )
        return claimed and gates and all(network.wrong_rows == 0 for network in self.constructed)

    @property
    def verdict(self) -> str:
        """The numbers of units and gates for the most bits, and the number of wrong answers."""
        bits = max(network.bits for network in self.constructed)
        units = {network.name: network.hidden_units for network in self.constructed if network.bits == bits}
        wrong = sum(network.wrong_rows for network in self.constructed)
        gates = self.gates[-1]
        return (
            f"For {bits} bits: {units['shallow']} units in one layer, {units['fold']} in {_log2(bits)} folds, "
            f"{units['tree']} in a tree of XORs; {wrong} wrong answers of all {len(self.constructed)} networks; "
            f"for {gates.bits} bits {gates.two_layers} AND and OR gates in two layers, {gates.tree} in "
            f"{gates.tree_layers}"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the constructed networks, the gates, and the trained networks."""
        names = tuple(CONSTRUCTIONS)
        rows = []
        for bits in sorted({network.bits for network in self.constructed}):
            own = {network.name: network for network in self.constructed if network.bits == bits}
            cells = (cell for name in names for cell in (_shown(own[name].hidden_sizes), own[name].hidden_units))
            rows.append((bits, 2**bits, *cells, sum(network.wrong_rows for network in own.values())))
        constructed = StudyTable(
            title="Written down, and tried on all rows: hidden layers, and units in them",
            columns=("bits", "rows", *(text for name in names for text in (name, f"{name} units")), "wrong answers"),
            rows=tuple(rows),
        )
        trained = StudyTable(
            title="Trained on all 2ⁿ rows: tanh, gradient descent with momentum",
            columns=("bits", "hidden layers", "hidden units", "learned all", "best accuracy", "fewest steps"),
            rows=tuple(
                (
                    t.bits,
                    _shown(t.hidden_sizes),
                    sum(t.hidden_sizes),
                    f"{t.learned} of {t.tries}",
                    t.best_accuracy,
                    t.fewest_steps,
                )
                for t in self.trained
            ),
        )
        gates = StudyTable(
            title="By AND and OR gates: an OR of ANDs, and a tree of XORs; and by one layer of threshold units",
            columns=("bits", "rows an AND covers", "two layers", "tree", "tree layers", "threshold", "wrong"),
            rows=tuple(
                (c.bits, c.widest, c.two_layers, c.tree, c.tree_layers, c.threshold_units, c.wrong_rows)
                for c in self.gates
            ),
        )
        return constructed, gates, trained

    def draw(self, figure: Figure) -> None:
        """Draws the numbers of units on the left, and the share of successful training runs on the right."""
        from training.plotting.style import BLUE, GREEN, GREY, INK, ORANGE, label

        left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
        for name, colour, marker in (("tree", GREEN, "^"), ("shallow", ORANGE, "s"), ("fold", BLUE, "o")):
            own = [network for network in self.constructed if network.name == name]
            text = {"shallow": "one layer: n", "fold": "folds: 2·⌈log₂ n⌉", "tree": "tree of XORs"}[name]
            left.plot([c.bits for c in own], [c.hidden_units for c in own], f"{marker}-", color=colour, label=text)
        of_gates = [count.bits for count in self.gates]
        left.plot(of_gates, [count.two_layers for count in self.gates], "x--", color=INK, label="gates, two layers")
        left.plot(of_gates, [count.tree for count in self.gates], "+--", color=GREY, label="gates, tree")
        left.set_xticks(sorted({network.bits for network in self.constructed}))
        left.set_yscale("log")
        ticks = [2**k for k in range(1, max(count.two_layers for count in self.gates).bit_length())]
        left.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        left.set_yticks([], minor=True)
        left.legend()
        label(left, title="Written down: units or gates for parity", x="bits n", y="hidden units, gates")
        bits = sorted({shape.bits for shape in self.trained})
        kinds = list(dict.fromkeys(_kind(shape) for shape in self.trained))
        shares = np.full((len(kinds), len(bits)), np.nan)
        for shape in self.trained:
            shares[kinds.index(_kind(shape)), bits.index(shape.bits)] = shape.learned / shape.tries
        right.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for (row, column), share in np.ndenumerate(shares):
            if not np.isnan(share):
                right.text(
                    column, row, f"{share:.0%}", ha="center", va="center", color="white" if share > 0.6 else "black"
                )
        right.grid(visible=False)
        right.set_xticks(range(len(bits)), [str(n) for n in bits])
        right.set_yticks(range(len(kinds)), kinds)
        right.tick_params(length=0)
        right.spines[:].set_visible(False)
        label(right, title="Trained: tries that learned all rows", x="bits n", y="hidden layers")


def run(*, seed: int = 0, quick: bool = False, bits: int | None = None) -> DepthResult:
    """Constructs and checks the networks for 2 to `bits` bits, and trains networks for up to 6 bits.

    Args:
        seed: seed of the initial weights of the trained networks.
        quick: True for fewer bits and runs.
        bits: largest number of bits, 2 to 16.

    Raises:
        ConfigError: the number of bits is impossible; the message names it.
    """
    most = check_number(
        "bits", (_QUICK_BITS if quick else BITS) if bits is None else bits, least=MIN_BITS, most=MAX_BITS
    )
    constructed = []
    for n in steps(range(MIN_BITS, most + 1)):
        for name, construct in CONSTRUCTIONS.items():
            network = construct(n)
            constructed.append(
                Constructed(
                    bits=n,
                    name=name,
                    hidden_sizes=network.config.hidden_sizes,
                    parameters=network.config.parameter_count,
                    wrong_rows=network.wrong_rows(),
                )
            )
    trained_bits = min(most, _QUICK_TRAINED_BITS if quick else _MAX_TRAINED_BITS)
    tries, most_steps = (2, 400) if quick else (5, 2000)
    trained = tuple(
        _train_shape(n, hidden, seed=seed, tries=tries, steps=most_steps)
        for n in steps(range(MIN_BITS, trained_bits + 1))
        for hidden in ((n,), (2 * n,), (4 * n,), (n, n), (n, n, n))
    )
    gates = tuple(count_gates(n) for n in range(MIN_BITS, min(most, MAX_GATE_BITS) + 1))
    return DepthResult(constructed=tuple(constructed), gates=gates, trained=trained)


def _train_shape(bits: int, hidden: tuple[int, ...], *, seed: int, tries: int, steps: int) -> TrainedShape:
    outcomes = [_train(bits, hidden, seed=seed * 1000 + i, steps=steps) for i in range(tries)]
    finished = [at for accuracy, at in outcomes if accuracy == 1]
    return TrainedShape(
        bits=bits,
        hidden_sizes=hidden,
        tries=tries,
        learned=len(finished),
        best_accuracy=max(accuracy for accuracy, _ in outcomes),
        fewest_steps=min(finished, default=None),
    )


def _train(bits: int, hidden: tuple[int, ...], *, seed: int, steps: int) -> tuple[float, int]:
    """Trains one network; returns the final accuracy on all rows, and the number of steps.

    Training ends early once all rows are right.
    """
    rows = all_rows(bits)  # (2ⁿ, n)
    x, y = 2.0 * rows - 1, parity(rows)  # -1 and 1: a row of zeros gives the first weights no gradient
    config = MLPConfig(layer_sizes=(bits, *hidden, 2), activation="tanh", initialization="xavier")
    network = NumpyMLP(config, rng=np.random.default_rng(seed), dtype=np.float64)
    accuracy = 0.0
    for step in range(1, steps + 1):
        _, gradients = network.loss_and_gradients(x, y)
        network.update(gradients, _LEARNING_RATE, momentum=_MOMENTUM)
        if step % _CHECK_EVERY == 0:
            accuracy = float((network.forward(x).argmax(axis=1) == y).mean())
            if accuracy == 1:
                return accuracy, step
    return accuracy, steps


def _log2(bits: int) -> int:
    """Returns ⌈log₂ n⌉."""
    return (bits - 1).bit_length()


def _shown(sizes: tuple[int, ...]) -> str:
    return "-".join(str(size) for size in sizes)


def _kind(shape: TrainedShape) -> str:
    """Returns a shape in multiples of n: `2n`, `n-n`."""
    factors = (size // shape.bits for size in shape.hidden_sizes)
    return "-".join("n" if factor == 1 else f"{factor}n" for factor in factors)


STUDY = Study(
    name="depth",
    about="what does parity cost a shallow network, and what a deep one?",
    claim=DepthResult.claim,
    run=run,
    options=(StudyOption(name="bits", kind="number", about="the most bits, 2 to 16 (default: 12)"),),
)
