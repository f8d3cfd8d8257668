"""A model as a Python file that builds an `nn.Sequential`, and a safetensors file with the state dict."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import assert_never

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from conversion.exporting.python_literals import Call, literal
from conversion.exporting.source_bundle import SourceBundler
from conversion.exporting.source_model import SourceModel
from conversion.exporting.stage_tensors import output_width, stage_tensors
from conversion.exporting.standalone_parts import (
    READERS,
    bounds_source,
    columns_source,
    docstring,
    imports_source,
    join,
    member_weights_source,
    need_columns,
    predict_source,
)
from conversion.exporting.torch_activations import OWN_MODULES, activation_source
from models.network.config import NetworkOutput
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm, Stage
from models.network.input_stage import InputStage

_MODULES = "conversion.exporting.standalone.torch_modules"

_LOAD = '''\
def load(path: Path | None = None) -> {kind}:
    """Returns the trained network, by default with the state dict that is beside this file."""
    digest = {digest}  # of the model
    network, own = build(), Path(__file__).with_name({name})
    network.load_state_dict(read_tensors(own, digest) if path is None else read_tensors(path))
    return network.eval().requires_grad_(False)
'''
_ENCODE = '''\
def encode(rows: Any) -> Tensor:
    """Returns rows as the network takes them, (rows, {width}); raises ValueError for a row that it does not take."""
    return torch.from_numpy(encode_rows(rows, COLUMNS))
'''
_ANSWERS = '''\
@torch.inference_mode()
def answers(rows: Any) -> NDArray[np.float32]:
    """Returns the answers to rows, (rows, {outputs})."""
    network = loaded()
    blocks = [answer(network, x) for x in encode(rows).split(ROWS_AT_A_TIME)]
    found = torch.cat(blocks).numpy()  # (rows, {outputs})
    check_finite(found)
    return found
'''
_LOADED = '''\
@functools.cache
def loaded() -> {kind}:
    """Loads the network at the first call."""
    return load()
'''

# Answers of a network's outputs z, as source.
OUTPUTS: Mapping[NetworkOutput, str] = MappingProxyType(
    {
        "softmax": "z.softmax(dim=-1)",
        "linear": "z",
        "exponential": "z.exp()",
        "logistic": "z.sigmoid()",
        "sigmoid": "torch.cat([-z, z], dim=-1).sigmoid()",
        # An output that is not finite gives NaN, and not a class.
        "argmax": "torch.zeros_like(z).scatter(-1, z.argmax(dim=-1, keepdim=True), 1.0) + 0 * z",
        "step": "torch.cat([(z < 0).float(), (z >= 0).float()], dim=-1)",
    }
)


def torch_source(model: SourceModel, module: str) -> str:
    """Returns the source of a Python file that builds the model's network and computes its answers.

    Args:
        model: model to export.
        module: name of the file without `.py`; the state dict is beside it in `MODULE.safetensors`.
    """
    network = model.network
    kind = "nn.Sequential" if len(network.members) == 1 else "Ensemble"
    bundler = SourceBundler()
    bundler.need(_MODULES, "read_tensors")
    build = _build_source(network, bundler)
    need_columns(bundler, model)
    bundle = bundler.bundle()
    imports = ["import functools", "import numpy as np", "import torch"]
    froms = {"pathlib": ["Path"], "typing": ["Any"], "numpy.typing": ["NDArray"], "torch": ["Tensor", "nn"]}
    return join(
        docstring(model, module, needs="PyTorch"),
        imports_source(bundle, imports, froms),
        *build,
        _LOAD.format(kind=kind, name=literal(f"{module}.safetensors"), digest=literal(model.digest)),
        _ENCODE.format(width=network.in_features),
        _answer_source(network, kind),
        _LOADED.format(kind=kind),
        _ANSWERS.format(outputs=network.out_features),
        *predict_source(model, for_tables=False),
        READERS + bundle.definitions,
        columns_source(model) + bounds_source(network) + member_weights_source(network),
    )


def torch_tensors(model: SourceModel) -> bytes:
    """Returns the safetensors file with the state dict; the same model gives the same bytes."""
    members = model.network.members
    tensors: dict[str, NDArray[np.float32]] = {}
    for i, stages in enumerate(members):
        before = f"members.{i}." if len(members) > 1 else ""
        tensors |= {before + name: np.ascontiguousarray(array) for name, array in stage_tensors(stages).items()}
    # One key, since safetensors writes several in random order.
    about = {"model": model.reference, "digest": model.digest, "axon": model.axon_version}
    metadata = {"axon": json.dumps(about, sort_keys=True)}
    return safetensors.numpy.save(dict(sorted(tensors.items())), metadata=metadata)


def _build_source(network: InferenceNetwork, bundler: SourceBundler) -> list[str]:
    """Returns the source of the functions that build the network."""
    lines, width = "", network.in_features
    for i, stage in enumerate(network.members[0]):
        source = _module_source(stage, width, bundler)
        width = output_width(stage, width)
        comment = f"  # {i}: (rows, {width})" if isinstance(stage, Affine | InputStage) else ""
        lines += f"        {source},{comment}\n"
    sequential = f"    return nn.Sequential(\n{lines}    )\n"
    if len(network.members) == 1:
        head = 'def build() -> nn.Sequential:\n    """Builds the network, without the trained weights."""\n'
        return [head + sequential]
    bundler.need(_MODULES, "Ensemble")
    return [
        'def member() -> nn.Sequential:\n    """Builds one network of the ensemble."""\n' + sequential,
        'def build() -> Ensemble:\n    """Builds the networks, without the trained weights."""\n'
        f"    return Ensemble([member() for _ in range({len(network.members)})])\n",
    ]


def _module_source(stage: Stage, width: int, bundler: SourceBundler) -> str:
    """Returns the source of a stage's module, which takes `width` features."""
    match stage:
        case Affine():
            return f"nn.Linear({stage.weight.shape[1]}, {len(stage.bias)})"
        case LayerNorm():
            return f"nn.LayerNorm({width}, eps={stage.eps!r})"
        case Activate():
            function = activation_source(stage)
            bundler.need(_MODULES, *(name for name in OWN_MODULES if function.startswith(name)))
            if stage.mix is None:
                return function
            bundler.need(_MODULES, "Mixed")
            return f"Mixed({function}, {width})"
        case InputStage():
            bundler.need(_MODULES, "InputStage")
            inputs = stage.inputs
            call = Call(
                "InputStage",
                numbers=list(inputs.numbers),
                flags=list(inputs.flags),
                indices=list(inputs.indices),
                offsets=list(inputs.table_offsets()),
                clip=inputs.clip,
                frequencies=stage.frequency.shape[1],
                table=stage.table.shape,
            )
            return literal(call, column=8 + len(",  # 0: (rows, 0000000)"), indent=8)
        case _:
            assert_never(stage)


def _answer_source(network: InferenceNetwork, kind: str) -> str:
    """Returns the source of the function `answer`."""
    outputs = network.in_features
    for stage in network.members[0]:
        outputs = output_width(stage, outputs)
    shape = f"(rows, {outputs})" if kind == "nn.Sequential" else f"(members, rows, {outputs})"
    result = OUTPUTS[network.output]
    if kind != "nn.Sequential":
        result += ".mean(dim=0)"
    weighted = ""
    if network.weights is not None:
        weighted = f"    y = {OUTPUTS[network.output]}\n"
        result = "torch.tensordot(z.new_tensor(MEMBER_WEIGHTS), y, dims=1) / sum(MEMBER_WEIGHTS)"
    if network.factor != 1:
        result = f"{network.factor!r} * {result}"
    if network.clamp is not None:
        low, high = network.clamp
        if isinstance(low, float):
            mean = f"({result})" if weighted or network.factor != 1 else result
            result = f"{mean}.clamp({low!r}, {high!r})"
        else:  # bounds of several targets
            weighted += f"    mean: Tensor = {result}\n"
            result = "mean.clamp(z.new_tensor(LOWEST), z.new_tensor(HIGHEST))"
    return f'''\
def answer(network: {kind}, x: Tensor) -> Tensor:
    """Computes the answers to encoded rows: (rows, {network.in_features}) to (rows, {network.out_features})."""
    z: Tensor = network(x)  # {shape}
{weighted}    return {result}
'''
