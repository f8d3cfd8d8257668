"""A computational graph as data, as Mermaid text, and as a matplotlib drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from training.studies.autodiff import Value

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphNode:
    """A node of a computational graph, after the forward and the backward pass.

    Attributes:
        name: label of the value, or the operation if the value has no label.
        operation: symbol of the operation; None for an input.
        parents: positions of the operands in the list of nodes.
        value: value of the forward pass.
        gradient: gradient of the result with respect to the value, same shape.
    """

    name: str
    operation: str | None
    parents: tuple[int, ...]
    value: NDArray[np.float64]
    gradient: NDArray[np.float64]


def nodes_of(result: Value) -> tuple[GraphNode, ...]:
    """Runs the backward pass from a scalar and returns the nodes of its graph, operands before results."""
    result.backward()
    order = result.graph()
    positions = {id(value): i for i, value in enumerate(order)}
    return tuple(
        GraphNode(
            name=value.name or value.operation or shown(value.data),
            operation=value.operation,
            parents=tuple(positions[id(parent)] for parent in value.parents),
            value=value.data,
            gradient=value.grad,
        )
        for value in order
    )


def formula(nodes: tuple[GraphNode, ...], node: GraphNode) -> str:
    """Returns a node's operation with the operands' names: `w × x`, `tanh(z)`, `e^2`; empty for an input."""
    operands = [nodes[i].name for i in node.parents]
    if node.operation is None:
        return ""
    if node.operation.startswith("^"):
        return operands[0] + node.operation
    return f" {node.operation} ".join(operands) if len(operands) == 2 else f"{node.operation}({operands[0]})"


def mermaid(nodes: tuple[GraphNode, ...]) -> str:
    """Returns the graph as a Mermaid flowchart with value and gradient of each node; no newline at the end."""
    result = nodes[-1].name
    lines = ["flowchart LR"]
    for i, node in enumerate(nodes):
        figures = f"{node.name} = {shown(node.value)}<br/>∂{result}/∂{node.name} = {shown(node.gradient)}"
        lines.append(
            f'    n{i}(["{figures}"])'
            if node.operation is None
            else f'    n{i}["{formula(nodes, node)}<br/>{figures}"]'
        )
    lines += [f"    n{parent} --> n{i}" for i, node in enumerate(nodes) for parent in node.parents]
    return "\n".join(lines)


def shown(array: NDArray[np.float64]) -> str:
    """Returns a number, or an array in brackets, as text with four significant digits."""
    if array.ndim == 0:
        return f"{float(array):.4g}"
    return f"[{', '.join(shown(np.asarray(part)) for part in array)}]"


def draw_graph(axes: Axes, nodes: tuple[GraphNode, ...]) -> None:
    """Draws the graph from left to right: inputs in blue boxes, results in white boxes, values above gradients.

    Args:
        axes: empty axes for the drawing.
        nodes: nodes of the graph, operands before results.
    """
    from matplotlib.artist import Artist
    from matplotlib.offsetbox import AnnotationBbox, TextArea, VPacker

    from training.plotting.style import BLUE, GREY, INK, ORANGE, TINTS

    places = _places(nodes)
    result = nodes[-1].name
    for i, node in enumerate(nodes):
        for parent in node.parents:
            arrow = {"arrowstyle": "->", "color": GREY, "shrinkA": 30, "shrinkB": 30, "linewidth": 0.9}
            axes.annotate("", places[i], places[parent], arrowprops=arrow)
    for node, place in zip(nodes, places, strict=True):
        operation = formula(nodes, node)
        lines = [(operation, INK)] if operation else []
        lines += [(f"{node.name} = {shown(node.value)}", BLUE)]
        lines += [(f"∂{result}/∂{node.name} = {shown(node.gradient)}", ORANGE)]
        texts: list[Artist] = [TextArea(text, textprops={"color": colour, "fontsize": 6.8}) for text, colour in lines]
        packed = VPacker(children=texts, align="center", pad=0, sep=2)
        box = {"facecolor": "white" if operation else TINTS[0], "edgecolor": GREY, "boxstyle": "round,pad=0.3"}
        axes.add_artist(AnnotationBbox(packed, place, bboxprops=box))
    xs, ys = np.array(places).T
    axes.set(xlim=(xs.min() - 0.5, xs.max() + 0.5), ylim=(ys.max() + 0.7, ys.min() - 0.7), xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _places(nodes: tuple[GraphNode, ...]) -> list[tuple[float, float]]:
    """Returns (column, row) of each node, for graphs that are chains with few branches.

    A result is one column after its operands, on the row of the operands that are results, or between its inputs. An
    input is one column before its first use, and above or below that node if the other operand is a result.
    """
    uses: list[list[int]] = [[j for j, other in enumerate(nodes) if i in other.parents] for i in range(len(nodes))]
    columns = [0] * len(nodes)
    for i, node in enumerate(nodes):
        columns[i] = max((columns[parent] + 1 for parent in node.parents), default=0)
    rows: dict[int, float] = {}
    first_inputs = [
        i
        for i, node in enumerate(nodes)
        if not node.parents and all(not nodes[p].parents for j in uses[i] for p in nodes[j].parents)
    ]
    for place, i in enumerate(first_inputs):
        rows[i] = 2.0 * place
    for i, node in enumerate(nodes):
        if node.parents:
            results = [rows[p] for p in node.parents if nodes[p].parents]
            once = [rows[p] for p in node.parents if p in rows and len(uses[p]) == 1]
            rows[i] = float(np.mean(results or once or [rows[p] for p in node.parents]))
    for i, node in enumerate(nodes):
        if not node.parents:
            columns[i] = min((columns[j] for j in uses[i]), default=1) - 1
            if i not in rows:
                user = nodes[uses[i][0]]
                rows[i] = rows[uses[i][0]] + (-1 if user.parents[0] == i else 1)
    return [(float(columns[i]), rows[i]) for i in range(len(nodes))]
