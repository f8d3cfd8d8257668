"""Study `graph`: the computational graph of a loss, with forward values and gradients at each node.

The reverse-mode engine of `autodiff.py` computes the gradients. They are compared with torch's autograd and with finite
differences, and for a network of 46 parameters also with the hand-written gradients of `models/network/numpy_mlp.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network.config import MLPConfig
from models.network.numpy_mlp import NumpyMLP
from training.studies.autodiff import Value
from training.studies.drawn_graph import GraphNode, draw_graph, formula, mermaid, nodes_of
from training.studies.study import Cell, Study, StudyDiagram, StudyResult, StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# An expression takes its inputs by name and returns each computed node by name, the loss last. It uses only operators
# and methods that a `Value` and a torch tensor share.
Expression = Callable[[Mapping[str, Any]], dict[str, Any]]

CONFIG = MLPConfig(layer_sizes=(3, 4, 4, 2), activation="tanh", initialization="xavier")
_ROWS = 8
_STEP = 1e-6  # step of a finite difference
_EXACT, _ROUGH = 1e-12, 1e-7  # greatest allowed difference to torch's gradients, and to finite differences
SQUARE_INPUTS = {"w": 0.5, "x": 3.0, "y": 2.0}
NETWORK_INPUTS = {
    "x": 1.5,
    "w1": 0.8,
    "b1": -0.6,
    "w2": -1.2,
    "b2": 1.0,
    "v1": 1.1,
    "v2": -0.7,
    "c": 0.2,
    "y": 0.0,
}


def square(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Computes L = (w·x - y)² node by node."""
    u = inputs["w"] * inputs["x"]
    e = u - inputs["y"]
    return {"u": u, "e": e, "L": e**2}


def network(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Computes the squared error of a 1-2-1 network with tanh units, node by node."""
    nodes: dict[str, Any] = {}
    for unit in ("1", "2"):
        nodes[f"u{unit}"] = inputs[f"w{unit}"] * inputs["x"]
        nodes[f"z{unit}"] = nodes[f"u{unit}"] + inputs[f"b{unit}"]
        nodes[f"h{unit}"] = nodes[f"z{unit}"].tanh()
        nodes[f"p{unit}"] = inputs[f"v{unit}"] * nodes[f"h{unit}"]
    nodes["s"] = nodes["p1"] + nodes["p2"]
    nodes["o"] = nodes["s"] + inputs["c"]
    nodes["e"] = nodes["o"] - inputs["y"]
    return nodes | {"L": nodes["e"] ** 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedGraph:
    """A graph after both passes, with gradients of other methods for comparison.

    Attributes:
        title: formula of the loss.
        nodes: nodes, operands before results.
        torch: torch's gradient of each node.
        differences: central finite difference for each input; None for a computed node.
    """

    title: str
    nodes: tuple[GraphNode, ...]
    torch: tuple[float, ...]
    differences: tuple[float | None, ...]

    @property
    def off_torch(self) -> float:
        """The greatest difference to torch; relative for gradients above 1."""
        return max(_off(float(n.gradient), t) for n, t in zip(self.nodes, self.torch, strict=True))

    @property
    def off_differences(self) -> float:
        """The greatest difference to finite differences; relative for gradients above 1."""
        pairs = zip(self.nodes, self.differences, strict=True)
        return max(_off(float(node.gradient), d) for node, d in pairs if d is not None)

    def table(self) -> StudyTable:
        """Returns a table with one node per row."""
        rows: list[tuple[Cell, ...]] = [
            (node.name, formula(self.nodes, node), float(node.value), float(node.gradient), torch, difference)
            for node, torch, difference in zip(self.nodes, self.torch, self.differences, strict=True)
        ]
        columns = ("node", "computed as", "value", "∂L/∂node", "torch's", "differences'")
        return StudyTable(title=self.title, columns=columns, rows=tuple(rows))


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The gradients of all 46 parameters of a 3-4-4-2 network, compared with those of another method.

    Attributes:
        method: name of the other method.
        difference: greatest difference; relative for gradients above 1.
        passes: number of passes of the other method, as text.
    """

    method: str
    difference: float
    passes: str


@dataclass(frozen=True, kw_only=True)
class GraphResult(StudyResult):
    """Two graphs node by node, and the comparisons for a network of 46 parameters."""

    claim: ClassVar[str] = (
        "One pass backward over the graph of a loss gives its gradient with respect to every node, equal to torch's "
        "and to finite differences."
    )
    graphs: tuple[CheckedGraph, ...]
    comparisons: tuple[Comparison, ...]
    parameters: int

    @property
    def holds(self) -> bool:
        """True if all gradients agree, up to rounding or the error of a finite difference."""
        exact = [graph.off_torch for graph in self.graphs]
        exact += [c.difference for c in self.comparisons if c.method != "finite differences"]
        rough = [graph.off_differences for graph in self.graphs]
        rough += [c.difference for c in self.comparisons if c.method == "finite differences"]
        return max(exact) <= _EXACT and max(rough) <= _ROUGH

    @property
    def verdict(self) -> str:
        """The gradients of the first graph, and the greatest differences."""
        off = {c.method: c.difference for c in self.comparisons}
        first = self.graphs[0]
        gradients = ", ".join(f"∂L/∂{n.name} = {float(n.gradient):g}" for n in first.nodes if n.operation is None)
        return (
            f"{first.title}: {gradients}; of {self.parameters} gradients of a 3-4-4-2 network none is further than "
            f"{off['torch']:.1g} from torch's and {off['finite differences']:.1g} from finite differences, which take "
            f"{2 * self.parameters} passes forward in place of one backward"
        )

    def tables(self) -> tuple[StudyTable, ...]:
        """Returns both graphs by node, and the comparisons of the network's gradients."""
        held = StudyTable(
            title=f"All {self.parameters} gradients of a 3-4-4-2 network, softmax and cross-entropy, {_ROWS} rows",
            columns=("held against", "greatest difference", "passes it takes"),
            rows=tuple((c.method, c.difference, c.passes) for c in self.comparisons),
        )
        return (*(graph.table() for graph in self.graphs), held)

    def diagrams(self) -> tuple[StudyDiagram, ...]:
        """Returns both graphs as Mermaid flowcharts."""
        return tuple(StudyDiagram(title=graph.title, mermaid=mermaid(graph.nodes)) for graph in self.graphs)

    def draw(self, figure: Figure) -> None:
        """Draws both graphs, one above the other, values in blue and gradients in orange."""
        figure.set_size_inches(10.5, 7)
        top, bottom = figure.subplots(2, 1, height_ratios=(1, 2.2))
        for axes, graph in zip((top, bottom), self.graphs, strict=True):
            draw_graph(axes, graph.nodes)
            axes.set_title(f"{graph.title}: values forward in blue, gradients backward in orange")


def run(*, seed: int = 0, quick: bool = False) -> GraphResult:
    """Differentiates both graphs and a 3-4-4-2 network, and checks every gradient.

    Args:
        seed: seed of the weights and rows of the 3-4-4-2 network.
        quick: no effect, since the study takes a fraction of a second.
    """
    graphs = (
        _checked("L = (w·x - y)²", square, SQUARE_INPUTS),
        _checked("A 1-2-1 network, L = (v1·tanh(w1·x + b1) + v2·tanh(w2·x + b2) + c - y)²", network, NETWORK_INPUTS),
    )
    comparisons, parameters = _compare(np.random.default_rng(seed))
    return GraphResult(graphs=graphs, comparisons=comparisons, parameters=parameters)


def _checked(title: str, expression: Expression, inputs: Mapping[str, float]) -> CheckedGraph:
    """Differentiates an expression with the engine, with torch and with finite differences."""
    import torch

    values = expression({name: Value(number, name=name) for name, number in inputs.items()})
    for name, value in values.items():
        value.named(name)
    nodes = nodes_of(values["L"])
    leaves = {name: torch.tensor(x, dtype=torch.float64, requires_grad=True) for name, x in inputs.items()}
    tensors = expression(leaves)
    for tensor in tensors.values():
        tensor.retain_grad()
    tensors["L"].backward()
    gradients: dict[str, Any] = {name: tensor.grad for name, tensor in (leaves | tensors).items()}
    return CheckedGraph(
        title=title,
        nodes=nodes,
        torch=tuple(float(gradients[node.name]) for node in nodes),
        differences=tuple(_difference(expression, inputs, n.name) if n.name in inputs else None for n in nodes),
    )


def _difference(expression: Expression, inputs: Mapping[str, float], name: str) -> float:
    """Computes the central finite difference of the loss with respect to one input."""
    high, low = (
        float(expression({k: Value(v + step * (k == name)) for k, v in inputs.items()})["L"].data)
        for step in (_STEP, -_STEP)
    )
    return (high - low) / (2 * _STEP)


def cross_entropy(parameters: Mapping[str, Value], x: NDArray[np.float64], y: NDArray[np.int64]) -> Value:
    """Computes the mean cross-entropy of a tanh network with a softmax output.

    Args:
        parameters: `layers.{i}.weight`, transposed to (n_in, n_out), and `layers.{i}.bias`, (n_out,), by name.
        x: (rows, in_features) rows.
        y: (rows,) class indices.
    """
    h = Value(x)
    layers = len(parameters) // 2
    for i in range(layers):
        z = h @ parameters[f"layers.{i}.weight"] + parameters[f"layers.{i}.bias"]  # (rows, n_out)
        h = z.tanh()
    chosen = np.eye(z.shape[1])[y]  # (rows, classes): 1 at each row's class
    return (z.exp().sum(axis=1).log() - (z * chosen).sum(axis=1)).mean()


def _compare(rng: np.random.Generator) -> tuple[tuple[Comparison, ...], int]:
    """Compares the engine's gradients of a 3-4-4-2 network with three other methods; also counts the parameters."""
    numpy_network = NumpyMLP(CONFIG, rng=rng, dtype=np.float64)
    x, y = rng.normal(size=(_ROWS, CONFIG.in_features)), rng.integers(0, CONFIG.out_features, _ROWS)
    arrays = {name: array.astype(np.float64) for name, array in numpy_network.parameters.items()}
    parameters = {name: Value(array.T, name=name) for name, array in arrays.items()}
    cross_entropy(parameters, x, y).backward()
    own = {name: value.grad.T for name, value in parameters.items()}
    _, by_hand = numpy_network.loss_and_gradients(x, y)
    others: dict[str, tuple[Mapping[str, Any], str]] = {
        "torch": (_torch_gradients(arrays, x, y), "1 forward, 1 backward"),
        "NumPy, written by hand": (by_hand, "1 forward, 1 backward"),
    }
    count = sum(array.size for array in arrays.values())
    others["finite differences"] = (_finite_differences(numpy_network, x, y), f"{2 * count} forward")
    comparisons = tuple(
        Comparison(
            method=method,
            difference=max(_off(a, b) for name in own for a, b in zip(own[name].flat, found[name].flat, strict=True)),
            passes=passes,
        )
        for method, (found, passes) in others.items()
    )
    return comparisons, count


def _torch_gradients(
    arrays: Mapping[str, NDArray[np.float64]], x: NDArray[np.float64], y: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    import torch

    from models.network.mlp import MLP

    module = MLP.from_tensors(CONFIG, arrays).double()
    module.load_tensors(arrays)  # a second time, in float64
    torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad.numpy() for name, parameter in module.named_parameters() if parameter.grad is not None}


def _finite_differences(mlp: NumpyMLP, x: NDArray[np.float64], y: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """Computes central finite differences, with two evaluations of the loss for each parameter."""
    found = {}
    for name, array in mlp.parameters.items():
        gradient = np.zeros(array.shape)
        for index in np.ndindex(*array.shape):
            before = array[index]
            array[index] = before + _STEP
            high = mlp.loss(x, y)
            array[index] = before - _STEP
            gradient[index] = (high - mlp.loss(x, y)) / (2 * _STEP)
            array[index] = before
        found[name] = gradient
    return found


def _off(a: float, b: float) -> float:
    """Returns the difference of two gradients, divided by the second if that is above 1."""
    return float(abs(a - b) / max(1.0, abs(b)))


STUDY = Study(
    name="graph",
    about="how does one pass backward give every gradient?",
    claim=GraphResult.claim,
    run=run,
)
