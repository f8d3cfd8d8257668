"""The outputs of a graph: probabilities of classes, a chosen class, or a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from conversion.importing.imported_model import ImportRefused
from conversion.importing.onnx_graph.contents import (
    Chosen,
    Content,
    Elementwise,
    Hidden,
    Mapped,
    Probabilities,
    RowValue,
)
from conversion.importing.onnx_graph.graph import GraphWalk
from conversion.importing.onnx_graph.heads import two_classes
from conversion.importing.onnx_graph.node import Node
from conversion.importing.onnx_graph.original import Form
from models.columns.labels import Label
from models.network.config import NetworkOutput, Task


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The answer of the network to a row.

    Attributes:
        output: function after the last layer.
        last: values before that function.
        tensor: name of the graph's tensor that the answers are compared with.
        form: form of that tensor's numbers.
        labels: labels of the classes, where the graph tells them.
        outputs: names of the graph's outputs that were understood.
    """

    output: NetworkOutput
    last: Hidden
    tensor: str
    form: Form
    labels: tuple[Label, ...] | None = None
    outputs: tuple[str, ...] = ()


def answer_of(
    walk: GraphWalk,
    outputs: Sequence[str],
    *,
    task: Task | None,
    labels: tuple[Label, ...] | None,
    several: bool = False,
) -> Answer:
    """Finds out what a graph answers.

    Args:
        walk: walk through the graph.
        outputs: names of the outputs to understand.
        task: the user's choice; None to tell from the graph.
        labels: the user's labels of the classes; None to tell from the graph.
        several: True if several targets are named.

    Raises:
        ImportRefused: An output is none of an MLP, or there are several that could be meant.
    """
    values = {name: _content(walk, name) for name in outputs}
    found = {name: content for name, content in values.items() if isinstance(content, Probabilities | Mapped)}
    chosen = {name: content for name, content in values.items() if isinstance(content, Chosen)}
    told = next((content.labels for content in (*found.values(), *chosen.values()) if content.labels), None)
    heads = {name: content for name, content in found.items() if _is_probabilities(content)}
    if task == "regression" and (found or chosen):
        raise ImportRefused(f"the outputs {_listed(values)} are those of a classifier, so --task regression is wrong.")
    rest = [name for name in values if name not in found and name not in chosen]
    if len(heads) > 1 or (not found and not chosen and len(rest) > 1) or ((found or chosen) and rest):
        raise ImportRefused(f"the graph has the outputs {_listed(values)}: say which one Axon shall answer (--output).")
    if heads:
        name, content = next(iter(heads.items()))
        return _probable(content, name, told, tuple(values))
    if chosen:
        name, choice = next(iter(chosen.items()))
        return _choice(choice, told, tuple(values))
    if found:
        raise ImportRefused(f"the output {next(iter(found))!r} maps labels to scores that are no probabilities.")
    name = rest[0]
    return _plain(walk, values[name], name, task=task, labels=labels, several=several)


def _content(walk: GraphWalk, name: str) -> Content:
    value = walk.value(name)
    if not isinstance(value, RowValue):
        raise ImportRefused(f"the output {name!r} does not depend on the row.")
    needed = walk.needed([name])
    pair = two_classes(walk.chain, value.content, Node(needed[-1], 1)) if needed else None
    return value.content if pair is None else pair


def _listed(values: dict[str, Content]) -> str:
    return ", ".join(repr(name) for name in values)


def _is_probabilities(content: Probabilities | Mapped) -> bool:
    return isinstance(content, Probabilities) or isinstance(content.values, Probabilities)


def _probable(
    content: Probabilities | Mapped, name: str, labels: tuple[Label, ...] | None, outputs: tuple[str, ...]
) -> Answer:
    head, tensor = (content.values, content.tensor) if isinstance(content, Mapped) else (content, name)
    if not isinstance(head, Probabilities):
        raise ImportRefused(f"the output {name!r} holds no probabilities.")
    form: Form = "logarithms" if head.kind == "log_softmax" else "probabilities"
    output: NetworkOutput = "sigmoid" if head.kind == "sigmoid" else "softmax"
    return Answer(output=output, last=head.logits, tensor=tensor, form=form, labels=labels, outputs=outputs)


def _choice(choice: Chosen, labels: tuple[Label, ...] | None, outputs: tuple[str, ...]) -> Answer:
    if isinstance(choice.scores, Probabilities):
        return _probable(choice.scores, choice.tensor, labels, outputs)
    if choice.scores.width < 2:
        raise ImportRefused("the graph chooses among fewer than two classes.")
    return Answer(
        output="argmax", last=choice.scores, tensor=choice.tensor, form="scores", labels=labels, outputs=outputs
    )


def _plain(
    walk: GraphWalk,
    content: Content,
    name: str,
    *,
    task: Task | None,
    labels: tuple[Label, ...] | None,
    several: bool,
) -> Answer:
    """Reads an output of numbers, whose meaning the user may have to say."""
    node = Node(walk.needed([name])[-1], 1) if walk.needed([name]) else None
    if node is None:
        raise ImportRefused(f"the output {name!r} is an input of the graph, and no MLP.")
    is_classifier = task == "classification" or (task is None and labels is not None)
    if isinstance(content, Elementwise) and content.width == 1:
        form = content.function.recognised()
        if form is not None and form.activation == "sigmoid" and (form.out_scale, form.out_shift) == (1.0, 0.0):
            if task is None and labels is None:
                raise ImportRefused(
                    f"the output {name!r} is one number from 0 to 1: say --task classification if it is the "
                    "probability of the second class (--labels gives the names of both), or --task regression."
                )
            if is_classifier:
                logit = walk.chain.hidden(content.argument, node)
                logit = logit.scaled(np.array([form.in_scale]), np.array([form.in_shift]))
                return _answer("sigmoid", logit, name, "second_probability")
    last = walk.chain.hidden(content, node)
    is_values = not is_classifier and several
    if isinstance(content, Elementwise) and content.width > 1 and _is_sigmoid(content) and not is_values:
        raise node.refused(f"answers {content.width} probabilities that do not add up to 1: several labels of one row")
    if is_classifier:
        return _answer("softmax", last, name, "logits") if last.width > 1 else _answer("sigmoid", last, name, "logit")
    if last.width > 1 and not is_values:
        raise ImportRefused(
            f"the output {name!r} has {last.width} numbers without a softmax. If they are a classifier's logits, say "
            "--task classification or give --labels; if they are values, name each with --target A,B,…."
        )
    return _answer("linear", last, name, "value")


def _is_sigmoid(content: Elementwise) -> bool:
    form = content.function.recognised()
    return form is not None and form.activation == "sigmoid"


def _answer(output: Literal["softmax", "sigmoid", "linear"], last: Hidden, name: str, form: Form) -> Answer:
    return Answer(output=output, last=last, tensor=name, form=form, outputs=(name,))
