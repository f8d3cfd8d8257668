"""The computation of a torch module as a chain of steps, found by tracing the module's own forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from conversion.importing.imported_model import ImportRefused
from conversion.importing.torch_nodes import (
    Node,
    affine_node,
    function_node,
    is_layer,
    linear_node,
    module_node,
)

_REMEDY = "Write the model as an nn.Sequential of its layers, which needs no trace."
_ARITHMETIC: Mapping[str, Callable[[Any, bool], tuple[Any, Any]]] = {
    # from the other operand, and whether it comes first, to scale and shift
    "add": lambda other, first: (1.0, other),
    "sub": lambda other, first: (-1.0, other) if first else (1.0, -other),
    "mul": lambda other, first: (other, 0.0),
    "truediv": lambda other, first: (1.0 / other, 0.0),
    "div": lambda other, first: (1.0 / other, 0.0),
}
_PLACED = {"iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "truediv"}


class _Tracer(fx.Tracer):
    """A tracer that does not look into layers."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Returns True for a layer."""
        return is_layer(m)


def chain_of(module: nn.Module, in_features: int) -> list[Node]:
    """Returns the steps of a module's forward pass, in order.

    Args:
        module: module in evaluation, with float64 tensors on the CPU.
        in_features: width of the input.

    Raises:
        ImportRefused: The forward pass cannot be traced, is not a chain, or has a step that is not of an MLP.
    """
    if is_layer(module):
        return [module_node("0", module)]
    try:
        graph = _Tracer().trace(module)
    except Exception as error:  # any error of the module's own code, which sees no numbers in a trace
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ImportRefused(
            f"the forward pass of {type(module).__name__} cannot be traced, since it depends on the numbers or on the "
            f"shape of its input ({reason:.200}). {_REMEDY}"
        ) from error
    return _Chain(module, graph, in_features).steps()


class _Chain:
    """The reader of a graph whose steps each take the result of the step before.

    Args:
        module: traced module.
        graph: graph of the forward pass.
        in_features: width of the input.
    """

    def __init__(self, module: nn.Module, graph: fx.Graph, in_features: int) -> None:
        self._module = module
        self._nodes = list(graph.nodes)
        self._width = in_features
        self._names: set[str] = set()

    def steps(self) -> list[Node]:
        """Returns the steps, in order."""
        constants: dict[fx.Node, Any] = {}
        current: fx.Node | None = None
        steps: list[Node] = []
        for node in self._nodes:
            match node.op:
                case "placeholder":
                    if current is not None:
                        if not node.users and node.args:  # an argument with a default that nothing uses
                            continue
                        raise ImportRefused(f"the forward pass takes a second input, {node.name!r}: Axon gives rows.")
                    current = node
                    continue
                case "get_attr":
                    constants[node] = _attribute(self._module, str(node.target))
                    continue
                case "output":
                    if node.args[0] is not current:
                        raise ImportRefused(
                            "the forward pass returns something other than the result of its last step, such as "
                            f"several tensors: {node.args[0]!r}. {_REMEDY}"
                        )
                    continue
            others = [given for given in node.all_input_nodes if given is not current]
            if any(given not in constants for given in others) or current not in node.all_input_nodes:
                raise ImportRefused(
                    f"step {node.name!r} ({_target(node)}) joins two branches of the forward pass, or leaves a chain "
                    "of layers: an MLP's layers each take the result of the layer before."
                )
            made = self._step(node, current, constants)
            self._width = made.fields.get("out_features", self._width)
            steps.append(made)
            current = node
        return steps

    def _step(self, node: fx.Node, current: fx.Node | None, constants: Mapping[fx.Node, Any]) -> Node:
        if node.op == "call_module":
            name = self._own(str(node.target))
            if len(node.args) != 1 or node.args[0] is not current:
                raise ImportRefused(f"layer {name!r} takes more than one input.")
            return module_node(name, self._module.get_submodule(str(node.target)))
        name = self._own(node.name)
        known = {given: constants[given] for given in node.all_input_nodes if given in constants}
        given = [known.get(item, item) if isinstance(item, fx.Node) else item for item in node.args]
        arguments = {
            key: known.get(item, item) if isinstance(item, fx.Node) else item for key, item in node.kwargs.items()
        }
        if node.target is torch.nn.functional.linear and given[0] is current:
            return linear_node(name, *self._linear(name, given[1:], arguments))
        kind = _arithmetic(node)
        if kind is not None and len(given) == 2 and not arguments:
            return self._affine(name, kind, given, current)
        if not given or given[0] is not current:
            raise ImportRefused(f"step {name!r} ({_target(node)}) does not take the result of the step before first.")
        named = {str(place): item for place, item in enumerate(given) if place} | arguments
        return function_node(name, node.target, named)

    def _own(self, name: str) -> str:
        """Returns a name that no step has: a layer that is used twice is two layers."""
        own, number = name, 2
        while own in self._names:
            own, number = f"{name}.{number}", number + 1
        self._names.add(own)
        return own

    def _linear(self, name: str, given: list[Any], arguments: Mapping[str, Any]) -> tuple[Any, Any]:
        parts = dict(zip(("weight", "bias"), given, strict=False)) | dict(arguments)
        if not isinstance(parts.get("weight"), torch.Tensor):
            raise ImportRefused(f"step {name!r} of the forward pass computes its weights.")
        return parts["weight"], parts.get("bias")

    def _affine(self, name: str, kind: str, given: list[Any], current: fx.Node | None) -> Node:
        first = given[1] is current
        other = given[0] if first else given[1]
        if other is current or isinstance(other, fx.Node) or (first and "div" in kind):
            raise ImportRefused(f"step {name!r} of the forward pass is not an affine map of the step before: {kind}.")
        if not isinstance(other, torch.Tensor | int | float):
            raise ImportRefused(f"step {name!r} of the forward pass computes with {other!r:.100}.")
        scale, shift = _ARITHMETIC[kind](other, first)
        return affine_node(name, scale, shift, self._width)


def _arithmetic(node: fx.Node) -> str | None:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    name = name.removesuffix("_")
    name = _PLACED.get(name, name)
    return name if name in _ARITHMETIC else None


def _target(node: fx.Node) -> str:
    return str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", node.target))


def _attribute(module: nn.Module, path: str) -> Any:
    *parents, last = path.split(".")
    return getattr(module.get_submodule(".".join(parents)), last)
