"""Import of a torch module: the forward pass as a sequence of layers, and a float64 copy as the reference.

The caller's module is not touched: a copy in evaluation, in float64, on the CPU is traced and asked. The columns say
what the module's input is: the encoded row of Axon's columns, so a module that was trained on numbers which its user
had standardised gets the means and the deviations as statistics of the columns.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from conversion.importing.imported_model import (
    Float64Array,
    ImportedModel,
    ImportRefused,
    Row,
    numeric_targets,
    targets_of,
)
from conversion.importing.output_range import bounds_of_shares
from conversion.importing.torch_nodes import Node
from conversion.importing.torch_trace import chain_of
from models.columns.cells import cell_writer
from models.columns.column import CategoricalColumn, Column
from models.columns.labels import Label
from models.columns.schema import ClassTarget, NumericTarget, Schema, Target, ValuesTarget
from models.network.config import NetworkOutput
from models.network.sequence import SequenceConfig, SequenceLayer

_NO_LAYERS = ("nothing", "squeeze", "softmax", "log_softmax")


def import_torch(
    module: nn.Module,
    *,
    columns: Sequence[Column],
    target: str | Sequence[str] | ClassTarget | NumericTarget | ValuesTarget,
    labels: Sequence[Label] | None = None,
    source: Mapping[str, Any] | None = None,
) -> ImportedModel:
    """Turns a module into a network with the module's answers.

    Args:
        module: module that maps `(rows, in_features)` to `(rows, out_features)`.
        columns: columns of a row, whose encoded features are the module's input.
        target: name of the target, names of several in the order of the outputs, or the target itself.
        labels: labels of the classes in the order of the outputs; two for a single output; none for a regression.
        source: more fields of the record of the origin.

    Raises:
        ImportRefused: The module is not an MLP, or columns, labels and outputs do not fit.
    """
    width = sum(column.width for column in columns)
    own = _copied(module)
    with contextlib.suppress(Exception), torch.no_grad():  # a width that does not fit is explained below
        own(torch.zeros(2, width, dtype=torch.float64))  # a spectral norm computes its weight in a forward pass
    steps = chain_of(own, width)
    first = next((step for step in steps if step.kind == "linear"), None)
    if first is None:
        raise ImportRefused("the module has no Linear.")
    takes = first.tensors["weight"].shape[1]
    if takes != width:
        raise ImportRefused(f"the module takes {takes} features, and the columns give {width}.")
    asked = _target_of(target, labels)
    config, tensors, ends = _network(steps, width, asked)
    schema = Schema(columns=tuple(columns), target=asked)
    encode = _Encoder(schema)
    return ImportedModel(
        schema=schema,
        config=config,
        tensors=tensors,
        original=lambda rows: _ask(own, encode(rows), ends, asked),
        source={
            "imported_from": f"torch.{type(module).__name__}" if _is_torchs(module) else type(module).__name__,
            "versions": {"torch": str(torch.__version__)},
            **(source or {}),
        },
    )


def _copied(module: nn.Module) -> nn.Module:
    module = getattr(module, "_orig_mod", module)  # of torch.compile
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module
    if isinstance(module, torch.jit.ScriptModule):
        raise ImportRefused("a scripted module hides its layers: publish the module that it was scripted from.")
    try:
        return copy.deepcopy(module).eval().to("cpu", torch.float64)
    except Exception as error:  # any error of the module's own code
        raise ImportRefused(
            f"the module cannot be copied ({type(error).__name__}: {error!s:.200}). Where it has a weight norm or a "
            "spectral norm of the old kind, remove it first (torch.nn.utils.remove_weight_norm), or use "
            "torch.nn.utils.parametrizations."
        ) from error


def _is_torchs(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")


def _target_of(target: str | Sequence[str] | Target, labels: Sequence[Label] | None) -> Target:
    if isinstance(target, ValuesTarget) or (isinstance(target, Sequence) and not isinstance(target, str)):
        if labels is not None:
            raise ImportRefused(
                "labels= are for a classifier, and target= names several values: leave one of them out."
            )
        return target if isinstance(target, ValuesTarget) else targets_of(target)
    if not isinstance(target, str):
        if labels is not None:
            raise ImportRefused("the target has its labels already: leave labels= out, or give the target's name.")
        return target
    if labels is None:
        return numeric_targets([target])
    plain = [label.item() if isinstance(label, np.generic) else label for label in labels]
    return ClassTarget(name=target, labels=tuple(plain))


def _network(steps: Sequence[Node], width: int, target: Target) -> tuple[SequenceConfig, dict[str, Float64Array], str]:
    """Returns config and tensors, and what the module's own outputs are: values or their function."""
    kept = [step for step in steps if step.kind != "nothing"]
    squeezed = [step for step in kept if step.kind == "squeeze"]
    kept = [step for step in kept if step.kind != "squeeze"]
    out = next(int(step.fields["out_features"]) for step in reversed(kept) if step.kind == "linear")
    if squeezed and out != 1:
        raise ImportRefused(f"step {squeezed[0].name!r} removes a dimension of {out} units.")
    last = kept[-1]
    ends: str = "values" if last.kind not in ("softmax", "log_softmax") else last.kind
    if last.kind == "activation" and last.fields["activation"] in ("sigmoid", "logsigmoid"):
        ends = str(last.fields["activation"])
    output, removed = _output(ends, out, target, last.name)
    if removed:
        kept = kept[:-1]
    if inner := next((step for step in kept if step.kind in _NO_LAYERS), None):
        raise ImportRefused(f"layer {inner.name!r} is a softmax before the end, which is not a layer of an MLP.")
    sequence = tuple(SequenceLayer(name=step.name, kind=step.kind, **step.fields) for step in kept)  # type: ignore[arg-type]
    tensors = {f"{step.name}.{name}": tensor for step in kept for name, tensor in step.tensors.items()}
    if ends == "values" and isinstance(target, ClassTarget) and (found := bounds_of_shares(sequence, tensors)):
        function, least, most = found
        raise ImportRefused(
            f"layer {function.name!r} ({function.activation}) keeps the module's outputs from {least:.3g} to "
            f"{most:.3g}, as probabilities are, and Axon takes them for logits: end the module with the logits, or "
            "with a plain Sigmoid or Softmax."
        )
    return SequenceConfig(in_features=width, sequence=sequence, output=output), tensors, ends


def _output(ends: str, out: int, target: Target, name: str) -> tuple[NetworkOutput, bool]:
    """Returns the network's output, and True if this output replaces the module's last step."""
    if isinstance(target, ValuesTarget) and out != len(target.targets):
        raise ImportRefused(
            f"the module has {out} output{'s' if out != 1 else ''}, and target= names {len(target.targets)} values: "
            "give one name for each output."
        )
    if not isinstance(target, ClassTarget):
        if ends in ("softmax", "log_softmax"):
            raise ImportRefused(f"layer {name!r} gives probabilities of {out} classes: name them with labels=.")
        if out != 1 and isinstance(target, NumericTarget):
            raise ImportRefused(
                f"the module has {out} outputs: name the classes with labels=[…], or the values with target=[…], one "
                "name for each output."
            )
        return "linear", False
    classes = len(target.labels)
    if out == classes:
        if ends in ("sigmoid", "logsigmoid"):
            raise ImportRefused(
                f"layer {name!r} is a sigmoid for each of {out} classes, which may all be true at once: Axon answers "
                "one class a row, so the module needs a softmax, or no function, at the end."
            )
        return "softmax", ends != "values"
    if out == 1 and classes == 2 and ends in ("values", "sigmoid"):
        return "sigmoid", ends == "sigmoid"
    raise ImportRefused(
        f"the module has {out} output{'s' if out != 1 else ''}, and labels= names {classes} classes: give one label "
        "for each output, or two for a single output."
    )


def _ask(module: nn.Module, x: Float64Array, ends: str, target: Target) -> NDArray[Any]:
    """Asks the original: probabilities of all classes, or values in the target's unit, (rows, outputs)."""
    with torch.no_grad():
        answers = module(torch.from_numpy(x))
    if not isinstance(answers, torch.Tensor):
        raise ImportRefused(f"the module returns a {type(answers).__name__}, and not a tensor.")
    answers = answers.to(torch.float64).reshape(len(x), -1)
    if isinstance(target, NumericTarget):
        return answers.numpy() * target.std + target.mean
    if isinstance(target, ValuesTarget):
        std, mean = (np.array([getattr(own, name) for own in target.targets]) for name in ("std", "mean"))
        return np.asarray(answers.numpy() * std + mean)
    if answers.shape[1] == 1:
        positive = answers if ends == "sigmoid" else torch.sigmoid(answers)
        return torch.cat([1 - positive, positive], dim=1).numpy()
    if ends == "log_softmax":
        return answers.exp().numpy()
    return answers.numpy() if ends == "softmax" else torch.softmax(answers, dim=1).numpy()


class _Encoder:
    """An encoder of rows in float64: cells become the module's input without the rounding of a request.

    Args:
        schema: schema of the rows.
    """

    def __init__(self, schema: Schema) -> None:
        # Without an origin nothing is subtracted before `standardisation`, and a cell is written in float64.
        columns = [
            column if isinstance(column, CategoricalColumn) else replace(column, origin=0.0)
            for column in schema.columns
        ]
        self._width = schema.width
        self._shift, self._divisor = Schema(columns=tuple(columns), target=schema.target).standardisation()
        self._writers = []
        at = 0
        for column in columns:
            self._writers.append(cell_writer(column, at))
            at += column.width

    def __call__(self, rows: Sequence[Row]) -> Float64Array:
        """Returns the encoded, standardised rows, (rows, width)."""
        matrix = []
        for row in rows:
            features = [0.0] * self._width
            for write, cell in zip(self._writers, row, strict=True):
                write(features, cell)
            matrix.append(features)
        return (np.array(matrix) - self._shift) / self._divisor
