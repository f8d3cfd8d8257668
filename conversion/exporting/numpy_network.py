"""The forward pass of a network as lines of NumPy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from conversion.exporting.python_literals import assignment, literal
from conversion.exporting.source_bundle import SourceBundler
from conversion.exporting.stage_tensors import output_width
from models.network.config import NetworkOutput
from models.network.functional import ACTIVATIONS
from models.network.inference_network import Activate, Affine, InferenceNetwork, LayerNorm, Stage
from models.network.input_stage import InputStage
from models.network.layer_activations import CONSTANTS, constants_of

STAGES = "conversion.exporting.standalone.numpy_stages"
_FUNCTIONAL = "models.network.functional"
_LAYER_ACTIVATIONS = "models.network.layer_activations"

# Answers of a member as source, and the functions that it needs, by module.
OUTPUTS: Mapping[NetworkOutput, tuple[str, Mapping[str, str]]] = MappingProxyType(
    {
        "softmax": ("softmax(network(x, w))", {_FUNCTIONAL: "softmax"}),
        "linear": ("network(x, w)", {}),
        "exponential": ("exponential(network(x, w))", {_FUNCTIONAL: "exponential"}),
        "logistic": ("sigmoid(network(x, w))", {_FUNCTIONAL: "sigmoid"}),
        "sigmoid": ("two_shares(network(x, w))", {STAGES: "two_shares"}),
        "argmax": ("chosen(network(x, w))", {STAGES: "chosen"}),
        "step": ("both_classes(step(network(x, w)))", {_FUNCTIONAL: "step", STAGES: "both_classes"}),
    }
)


def network_source(network: InferenceNetwork, bundler: SourceBundler) -> str:
    """Returns the source of the function `network`, the forward pass of one member.

    Args:
        network: fused network.
        bundler: collector of the functions that the source calls.
    """
    lines: list[str] = []
    width = network.in_features
    for i, stage in enumerate(network.members[0]):
        width = output_width(stage, width)
        lines += _lines(i, stage, bundler)
    last = lines.pop().replace("x = ", "return ", 1)
    body = "".join(f"    {line}\n" for line in [*lines, last])
    return f'''\
def network(x: Array, w: dict[str, Array]) -> Array:
    """Computes the outputs of a network with the tensors `w`: (rows, {network.in_features}) to (rows, {width})."""
{body}'''


def answer_source(network: InferenceNetwork, bundler: SourceBundler) -> str:
    """Returns the source of the function `answer`, the (weighted) mean of the members' answers."""
    expression, needed = OUTPUTS[network.output]
    for module, name in needed.items():
        bundler.need(module, name)
    mean = "np.mean(members, axis=0, dtype=np.float32)"
    weighted = ""
    if network.weights is not None:
        mean = "found"
        weighted = "        found = np.average(members, axis=0, weights=MEMBER_WEIGHTS).astype(np.float32)\n"
    if network.factor != 1:
        mean = f"np.float32({network.factor!r}) * {mean}"
    if network.clamp is not None:
        low, high = map(repr, network.clamp) if isinstance(network.clamp[0], float) else ("LOWEST", "HIGHEST")
        mean = f"np.clip({mean}, {low}, {high}, dtype=np.float32)"
    return f'''\
def answer(x: Array) -> Array:
    """Computes the answers to encoded rows: (rows, {network.in_features}) to (rows, {network.out_features})."""
    with np.errstate(over="ignore", invalid="ignore"):  # a number far outside the range of training
        members = [{expression} for w in MEMBERS]
{weighted}        return np.asarray({mean})
'''


def places_source(network: InferenceNetwork) -> str:
    """Returns the source of the constants with the places of an input stage's features; empty without such a stage."""
    first = network.members[0][0]
    if not isinstance(first, InputStage):
        return ""
    inputs = first.inputs
    places = {"NUMBERS": inputs.numbers, "FLAGS": inputs.flags, "INDICES": inputs.indices}
    lines = [assignment(name, list(those)) for name, those in places.items() if those]
    if inputs.indices:
        lines.append(assignment("OFFSETS", list(inputs.table_offsets())))
    return (
        "# Places of numbers, flags and indices in an encoded row, and of each index's rows in the table.\n"
        + "".join(lines)
    )


def _lines(i: int, stage: Stage, bundler: SourceBundler) -> Iterator[str]:
    """Yields the lines of a stage, which assign to `x`."""
    match stage:
        case Affine():
            yield f'x = x @ w["{i}.weight"].T + w["{i}.bias"]  # (rows, {len(stage.bias)})'
        case LayerNorm():
            bundler.need(STAGES, "layer_norm")
            yield f'x = layer_norm(x, w["{i}.weight"], w["{i}.bias"], eps={stage.eps!r})'
        case Activate():
            activated = _activation(stage, bundler)
            yield f"x = {activated}" if stage.mix is None else f'x = x + w["{i}.mix"] * ({activated} - x)'
        case InputStage():
            yield from _input_lines(i, stage, bundler)


def _activation(stage: Activate, bundler: SourceBundler) -> str:
    """Returns the call of an activation; the function has the activation's name, in one of two modules of Axon."""
    is_own = stage.name in ACTIVATIONS and stage.name not in CONSTANTS
    bundler.need(_FUNCTIONAL if is_own else _LAYER_ACTIVATIONS, stage.name)
    constants = "".join(f", {constant!r}" for constant in constants_of(stage.name, stage.constants))
    return f"{stage.name}(x{constants})"


def _input_lines(i: int, stage: InputStage, bundler: SourceBundler) -> Iterator[str]:
    inputs = stage.inputs
    parts: dict[str, str] = {}  # source of each part by the name of the variable
    if inputs.numbers:
        bundler.need(STAGES, "standardised")
        clip = literal(inputs.clip)
        yield f'numbers = standardised(x[:, NUMBERS], w["{i}.shift"], w["{i}.divisor"], clip={clip})'
        parts["numbers"] = ""
    if stage.frequency.size:
        bundler.need(STAGES, "waves")
        parts["periodic"] = f'waves(numbers, w["{i}.frequency"], w["{i}.phase"])'
    if inputs.flags:
        parts["flags"] = "x[:, FLAGS]"
    if inputs.indices:
        bundler.need(STAGES, "embeddings")
        parts["embedded"] = f'embeddings(x[:, INDICES], w["{i}.table"], OFFSETS)'
    for name, part in parts.items():
        if part:
            yield f"{name} = {part}"
    yield f"x = np.hstack([{', '.join(parts)}])  # (rows, {stage.out_features})"
