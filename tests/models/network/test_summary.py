import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from models.errors import ConfigError
from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from models.network.mlp import MLP
from models.network.neuron_diagram import neuron_diagram
from models.network.summary import summarize

MNIST = MLPConfig(layer_sizes=(784, 512, 256, 10), dropout=0.1, normalization="batch")
configs = st.builds(
    MLPConfig,
    layer_sizes=st.lists(st.integers(2, 2000), min_size=2, max_size=5).map(tuple),
    activation=st.sampled_from(["relu", "gelu", "identity"]),
    output=st.sampled_from(["softmax", "linear"]),
    dropout=st.sampled_from([0.0, 0.3]),
    normalization=st.sampled_from(["none", "batch", "layer"]),
    bias=st.booleans(),
)
small = st.builds(
    MLPConfig,
    layer_sizes=st.lists(st.integers(2, 12), min_size=2, max_size=5).map(tuple),
    dropout=st.sampled_from([0.0, 0.3]),
    normalization=st.sampled_from(["none", "batch", "layer"]),
    bias=st.booleans(),
)


@pytest.mark.parametrize(
    ("sizes", "per_layer", "total"),
    [
        ((3, 4, 2), [16, 10], 26),
        ((3, 4, 4, 2), [16, 20, 10], 46),
        ((784, 512, 256, 10), [401_920, 131_328, 2_570], 535_818),
    ],
)
def test_known_networks_have_their_known_counts(sizes, per_layer, total):
    summary = summarize(MLPConfig(layer_sizes=sizes))
    assert [layer.params for layer in summary.layers if layer.type == "Linear"] == per_layer
    assert summary.total_params == summary.trainable_params == total
    assert summary.parameter_bytes == summary.total_bytes == 4 * total
    assert (summary.buffers, summary.non_trainable_params) == (0, 0)


@settings(max_examples=40, deadline=None)
@given(small, st.integers(2, 5))
def test_every_row_is_what_torch_sees_in_a_forward_pass(config, batch_size):
    mlp, seen = MLP(config), []

    def see(module, args, out, *, name):
        buffers = sum(b.numel() for n, b in module.named_buffers() if n != "num_batches_tracked")
        params = sum(p.numel() for p in module.parameters())
        trainable = sum(p.numel() for p in module.parameters() if p.requires_grad)
        shapes = (tuple(args[0].shape), tuple(out.shape))
        seen.append((name, type(module).__name__, *shapes, params, trainable, buffers))

    for name, module in mlp.named_modules():
        if name.count("."):  # layers.0, but not the list itself
            module.register_forward_hook(lambda *call, name=name: see(*call, name=name))
    mlp(torch.zeros(batch_size, config.in_features))
    summary = summarize(config, batch_size=batch_size)
    assert seen == [
        (row.name, row.type, row.input_shape, row.output_shape, row.params, row.trainable_params, row.buffers)
        for row in summary.layers
    ]
    assert summary.total_params == sum(p.numel() for p in mlp.parameters()) == config.parameter_count
    assert summary.total_bytes == sum(t.nbytes for t in mlp.to_tensors().values())


@settings(max_examples=20, deadline=None)
@given(small)
def test_multiply_adds_are_half_the_flops_that_torch_counts_for_a_row(config):
    mlp = MLP(config).eval()
    with FlopCounterMode(display=False) as counter:
        mlp(torch.zeros(1, config.in_features))
    assert 2 * summarize(config).multiply_adds == counter.get_total_flops()


def test_a_shape_without_batch_size_holds_for_any():
    row = summarize(MNIST).layers[0]
    assert (row.input_shape, row.output_shape) == ((-1, 784), (-1, 512))
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        summarize(MNIST, batch_size=0)


def numbers_of(text):
    """Parses a table: the rows by column, and the totals by label."""
    lines = text.splitlines()
    rules = [i for i, line in enumerate(lines) if set(line) == {"─"}]
    rows = [re.split(r"\s{2,}", line) for line in lines[rules[0] + 1 : rules[1]]]
    totals = dict(re.split(r"\s{2,}", line) for line in lines[rules[1] + 1 :])
    return rows, {label: int(n.replace(",", "")) for label, n in totals.items() if label != "Output"}


@settings(max_examples=40, deadline=None)
@given(configs, st.one_of(st.none(), st.integers(1, 10_000)))
def test_the_columns_of_the_table_sum_to_the_totals_below_it(config, batch_size):
    summary = summarize(config, batch_size=batch_size, title="a model")
    text = summary.to_text()
    rows, totals = numbers_of(text)
    assert [row[:2] for row in rows] == [[layer.name, layer.type] for layer in config.layers()]
    assert sum(int(row[4].replace(",", "")) for row in rows) == totals["Total params"] == config.parameter_count
    assert sum(int(row[5].replace(",", "")) for row in rows) == totals["Multiply-adds a row"] == summary.multiply_adds
    assert totals["Total params"] == totals["Trainable params"] + totals["Non-trainable params"]
    assert totals["Bytes (float32)"] == 4 * (totals["Total params"] + totals["Buffers"])
    assert text.startswith("a model\nLayer ")


def test_the_table_is_aligned_with_thousands_separators():
    assert summarize(MLPConfig(layer_sizes=(784, 512, 10))).to_text().splitlines() == [
        "Layer          Type    Input shape  Output shape   Params  Multiply-adds",
        "────────────────────────────────────────────────────────────────────────",
        "layers.0       Linear  (-1, 784)    (-1, 512)     401,920        401,408",
        "activations.0  ReLU    (-1, 512)    (-1, 512)           0              0",
        "layers.1       Linear  (-1, 512)    (-1, 10)        5,130          5,120",
        "────────────────────────────────────────────────────────────────────────",
        "Output                  softmax",
        "Total params            407,050",
        "Trainable params        407,050",
        "Non-trainable params          0",
        "Buffers                       0",
        "Multiply-adds a row     406,528",
        "Bytes (float32)       1,628,200",
    ]


def test_the_dict_is_json_and_sums_to_its_totals():
    summary = summarize(MNIST, batch_size=32, title="mnist")
    raw = json.loads(json.dumps(summary.to_dict()))
    assert raw == summary.to_dict()
    assert raw["layers"][1] == {
        "name": "norms.0",
        "type": "BatchNorm1d",
        "input_shape": [32, 512],
        "output_shape": [32, 512],
        "params": 1024,
        "trainable_params": 1024,
        "buffers": 1024,
        "multiply_adds": 0,
    }
    for total, column in {
        "total_params": "params",
        "trainable_params": "trainable_params",
        "buffers": "buffers",
        "multiply_adds": "multiply_adds",
    }.items():
        assert raw[total] == sum(layer[column] for layer in raw["layers"])
    assert raw["total_params"] == 535_818 + 2 * (512 + 256)
    assert raw["non_trainable_params"] == 0
    assert raw["parameter_bytes"] == 4 * raw["total_params"]
    assert raw["bytes"] == 4 * (raw["total_params"] + 2 * (512 + 256))
    assert (raw["title"], raw["output"]) == ("mnist", "softmax")


@settings(max_examples=20, deadline=None)
@given(configs)
def test_the_diagram_is_one_path_from_input_to_output_through_every_layer(config):
    first, *lines = summarize(config).to_mermaid().splitlines()
    assert first == "flowchart TD"
    labels, arrows = {}, []
    for line in lines:
        if arrow := re.fullmatch(r"    (\w+) --> (\w+)", line):
            arrows.append(arrow.groups())
        else:
            node = re.fullmatch(r'    (\w+)(?:\["([^"]+)"\]|\(\["([^"]+)"\]\))', line)
            assert node, line
            labels[node[1]] = node[2] or node[3]
    path = [arrows[0][0], *(end for _, end in arrows)]
    assert [start for start, _ in arrows] == path[:-1]
    assert path == list(labels)
    inner = list(config.layers())
    assert len(path) == len(inner) + 2
    assert labels[path[0]] == f"input<br/>(-1, {config.in_features})"
    assert labels[path[-1]] == f"{config.output}<br/>(-1, {config.out_features})"
    for node, layer in zip(path[1:-1], inner, strict=True):
        assert labels[node].startswith(layer.type)
        assert (f"{layer.parameter_count:,} params" in labels[node]) == (layer.parameter_count > 0)


@pytest.mark.parametrize("clip", [None, 3.0])
@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("frequencies", [0, 4])
@pytest.mark.parametrize(("flags", "indices"), [((), ()), ((2,), ()), ((2,), (3,)), ((), (2,))])
def test_each_part_of_an_input_stage_reads_its_own_features_in_the_diagram(clip, scale, frequencies, flags, indices):
    inputs = InputConfig(
        numbers=(0, 1),
        flags=flags,
        indices=indices,
        categories=(5,) * len(indices),
        clip=clip,
        frequencies=frequencies,
        scale=scale,
    )
    config = MLPConfig(layer_sizes=(2 + len(flags) + len(indices), 3, 2), inputs=inputs)
    text = summarize(config).to_mermaid()
    assert f"input<br/>(-1, {config.in_features})" in text
    joined = "node_inputs_scale" if scale else "node_layers_0"
    numbers = "node_inputs_clip" if clip else "node_input"
    wanted = {(numbers, joined)}
    wanted |= {("node_input", "node_inputs_clip")} if clip else set()
    wanted |= {("node_input", joined)} if flags else set()
    wanted |= {(numbers, "node_inputs_periodic"), ("node_inputs_periodic", joined)} if frequencies else set()
    wanted |= {("node_input", "node_inputs_embedding"), ("node_inputs_embedding", joined)} if indices else set()
    wanted |= {("node_inputs_scale", "node_layers_0")} if scale else set()
    wanted |= {("node_layers_0", "node_activations_0"), ("node_activations_0", "node_layers_1")}
    assert set(re.findall(r"    (\w+) --> (\w+)", text)) == wanted | {("node_layers_1", "node_output")}


def test_a_temperature_is_told():
    config = MLPConfig(layer_sizes=(3, 2), temperature=1.25)
    assert re.search(r"^Temperature +1\.25$", summarize(config).to_text(), re.MULTILINE)
    assert "Temperature" not in summarize(MLPConfig(layer_sizes=(3, 2))).to_text()
    assert '"output, softmax of z / 1.25"' in neuron_diagram(config)


def test_no_title_can_break_out_of_the_diagrams_head():
    lines = summarize(MNIST, title='a "b"\n---\nclick').to_mermaid().splitlines()
    assert lines[:4] == ["---", 'title: "a \\"b\\"\\n---\\nclick"', "---", "flowchart TD"]


def test_an_ensemble_tells_its_members_and_the_parts_of_its_inputs():
    inputs = InputConfig(numbers=(0, 1), indices=(2,), categories=(11,), clip=3.0, frequencies=16, scale=True)
    config = MLPConfig(
        layer_sizes=(3, 8, 2), activation="selu", learned_activation=True, inputs=inputs, members=4, temperature=1.25
    )
    summary = summarize(config)
    by_name = {layer.name: layer for layer in summary.layers}
    width = 2 + 2 * 3 + 8
    parts = ("inputs.clip", "inputs.periodic", "inputs.embedding", "inputs.scale")
    assert [by_name[name].params for name in parts] == [
        0,
        4 * (2 * 2 * 16 + 2 * 3 * 16 + 2 * 3),
        4 * 12 * 8,
        4 * width,
    ]
    assert by_name["layers.0"].params == 4 * (width + 1) * 8
    assert by_name["activations.0"].params == 4 * 8
    assert summary.total_params == config.parameter_count == sum(layer.params for layer in summary.layers)
    text = summary.to_text()
    assert re.search(r"^Members +4$", text, re.MULTILINE)
    assert (summary.to_dict()["members"], summary.to_dict()["temperature"]) == (4, 1.25)
    assert "member_weights" not in summary.to_dict()


def test_an_ensemble_with_weights_tells_them():
    config = MLPConfig(layer_sizes=(3, 4, 2), members=4, member_weights=(3, 3, 1, 1))
    summary = summarize(config)
    assert summary.total_params == 4 * 26
    assert summary.to_dict()["member_weights"] == [3, 3, 1, 1]
    assert re.search(r"^Weights of members +2 × 3, 2 × 1$", summary.to_text(), re.MULTILINE)
