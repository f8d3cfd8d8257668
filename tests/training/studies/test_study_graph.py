"""The graph's values and gradients equal those of the closed form, and the study detects a wrong derivative."""

import re
from pathlib import Path

import numpy as np
import pytest

from training.studies import graph
from training.studies.autodiff import Value
from training.studies.drawn_graph import nodes_of

PAGE = (Path(__file__).parents[3] / "docs/studies.md").read_text(encoding="utf-8")


def test_the_square_has_the_gradients_of_its_closed_form():
    nodes = {node.name: node for node in graph.run(quick=True).graphs[0].nodes}
    w, x, y = (graph.SQUARE_INPUTS[name] for name in "wxy")
    e = w * x - y
    assert {name: float(node.value) for name, node in nodes.items()} == {
        "w": w,
        "x": x,
        "y": y,
        "u": w * x,
        "e": e,
        "L": e**2,
    }
    assert {name: float(node.gradient) for name, node in nodes.items()} == {
        "w": 2 * e * x,
        "x": 2 * e * w,
        "y": -2 * e,
        "u": 2 * e,
        "e": 2 * e,
        "L": 1,
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_gradient_is_torchs(seed):
    result = graph.run(seed=seed)
    assert result.holds
    assert result.parameters == 46
    assert [comparison.method for comparison in result.comparisons] == [
        "torch",
        "NumPy, written by hand",
        "finite differences",
    ]


def test_a_wrong_derivative_does_not_bear_the_claim_out(monkeypatch):
    right = Value.tanh

    def wrong(self):
        value = right(self)
        value._pull_back = lambda g: (g * (1 - value.data),)
        return value

    monkeypatch.setattr(Value, "tanh", wrong)
    assert not graph.run(quick=True).holds


def test_the_diagram_has_every_node_and_every_edge():
    w, x = Value([1.0, 2.0], name="w"), Value([3.0, 4.0], name="x")
    nodes = nodes_of((w * x).sum().named("L"))
    assert [node.name for node in nodes] == ["w", "x", "×", "L"]
    result = graph.run(quick=True)
    for checked, diagram in zip(result.graphs, result.diagrams(), strict=True):
        shown = re.findall(r"^    n(\d+)[(\[]", diagram.mermaid, re.MULTILINE)
        edges = re.findall(r"^    n(\d+) --> n(\d+)$", diagram.mermaid, re.MULTILINE)
        assert [int(i) for i in shown] == list(range(len(checked.nodes)))
        expected = [(str(p), str(i)) for i, node in enumerate(checked.nodes) for p in node.parents]
        assert sorted(edges) == sorted(expected)
        for node in checked.nodes:
            assert f"{node.name} = {float(node.value):.4g}<br/>∂L/∂{node.name} = {float(node.gradient):.4g}" in (
                diagram.mermaid
            )


def test_the_page_shows_the_diagrams_that_the_study_prints():
    for diagram in graph.run(quick=True).diagrams():
        assert f"```mermaid\n{diagram.mermaid}\n```" in PAGE


def test_boxes_of_the_plot_do_not_share_a_place():
    from training.studies.drawn_graph import _places

    for checked in graph.run(quick=True).graphs:
        places = _places(checked.nodes)
        assert len({*places}) == len(places)
        gaps = [np.abs(np.subtract(a, b)) for a in places for b in places if a != b]
        assert all(across >= 1 or down >= 1 for across, down in gaps)
