"""A drawing of every neuron has an arrow for each parameter that torch counts."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from models.network.mlp import MLP
from models.network.neuron_diagram import MAX_ARROWS, neuron_diagram

ARROW = re.compile(r"^    (\w+) (-->|-\.->)(?:\|([^|]+)\|)? (\w+)$", re.MULTILINE)


def arrows(text):
    return ARROW.findall(text)


def test_the_3_4_4_2_network_has_its_46_parameters_as_arrows():
    text = neuron_diagram(MLPConfig(layer_sizes=(3, 4, 4, 2)))
    found = arrows(text)
    assert len(found) == len({*found}) == 46
    assert [kind for _, kind, _, _ in found].count("-->") == 3 * 4 + 4 * 4 + 4 * 2
    assert [kind for _, kind, _, _ in found].count("-.->") == 4 + 4 + 2
    assert len(re.findall(r"\(\(", text)) == 3 + 4 + 4 + 2
    assert text.splitlines()[0] == "flowchart LR"


def test_the_page_on_studies_shows_it():
    page = (Path(__file__).parents[3] / "docs/studies.md").read_text(encoding="utf-8")
    assert f"```mermaid\n{neuron_diagram(MLPConfig(layer_sizes=(3, 4, 4, 2)))}\n```" in page


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(2, 6), min_size=2, max_size=5).map(tuple), st.booleans())
def test_arrows_are_as_many_as_torchs_parameters_and_join_neighbouring_layers(sizes, bias):
    config = MLPConfig(layer_sizes=sizes, bias=bias)
    text = neuron_diagram(config)
    found = arrows(text)
    assert len({*found}) == len(found) == sum(p.numel() for p in MLP(config).parameters())
    drawn = {*re.findall(r"^ +(n\d+_\d+)\(\(", text, re.MULTILINE)}
    assert drawn == {f"n{layer}_{i + 1}" for layer, size in enumerate(sizes) for i in range(size)}
    for start, kind, _, end in found:
        layer = int(end[1:].split("_")[0])
        assert {start, end} - {f"one{layer}"} <= drawn
        assert start.startswith("one" if kind == "-.->" else f"n{layer - 1}_")


def test_the_arrows_carry_the_weights_of_the_neurons_that_they_join():
    config = MLPConfig(layer_sizes=(2, 3, 2))
    tensors = MLP(config).to_tensors()
    for start, kind, value, end in arrows(neuron_diagram(config, tensors=tensors)):
        layer, j = (int(n) for n in end[1:].split("_"))
        row = tensors[f"layers.{layer - 1}.{'bias' if kind == '-.->' else 'weight'}"][j - 1]
        expected = row if kind == "-.->" else row[int(start.split("_")[1]) - 1]
        assert float(value) == pytest.approx(float(expected), rel=5e-3)


def test_a_title_cannot_end_the_heading():
    text = neuron_diagram(MLPConfig(layer_sizes=(2, 2)), title='a"\n---\nb')
    assert text.splitlines()[1] == 'title: "a\\"\\n---\\nb"'


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (MLPConfig(layer_sizes=(784, 512, 256, 10)), "535,818 parameters, and Mermaid draws at most 500"),
        (MLPConfig(layer_sizes=(2, 3, 2), normalization="batch"), "batch normalization"),
        (MLPConfig(layer_sizes=(2, 3, 2), learned_activation=True), "learned activations"),
        (MLPConfig(layer_sizes=(2, 3, 2), members=4), "4 members"),
        (MLPConfig(layer_sizes=(2, 3, 2), inputs=InputConfig(numbers=(0, 1), clip=3.0)), "an input stage"),
    ],
)
def test_a_network_that_arrows_do_not_tell_is_refused_with_the_remedy(config, said):
    with pytest.raises(ConfigError, match=said) as refused:
        neuron_diagram(config)
    assert "--format mermaid" in str(refused.value)


def test_the_largest_drawing_is_mermaids_limit():
    assert len(arrows(neuron_diagram(MLPConfig(layer_sizes=(99, 5))))) == MAX_ARROWS
    with pytest.raises(ConfigError, match="505"):
        neuron_diagram(MLPConfig(layer_sizes=(100, 5)))


def test_the_drawing_is_text_whatever_the_float_type():
    config = MLPConfig(layer_sizes=(1, 2), output="linear")
    tensors = {"layers.0.weight": np.array([[1e-9], [-2.5]]), "layers.0.bias": np.zeros(2)}
    assert "n0_1 -->|1e-09| n1_1" in neuron_diagram(config, tensors=tensors)
