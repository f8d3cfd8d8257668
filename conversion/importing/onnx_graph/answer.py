"""The outputs of a graph: probabilities of classes, a chosen class, or a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from conversion.importing.onnx_graph.heads import is_same_decision, two_classes
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
    heads = {name: content for name, content in found.items() if _is_probabilities(content)}
    if task == "regression" and (found or chosen):
        raise ImportRefused(f"the outputs {_listed(values)} are those of a classifier, so --task regression is wrong.")
    rest = [name for name in values if name not in found and name not in chosen]
    if len(heads) > 1 or (not found and not chosen and len(rest) > 1) or ((found or chosen) and rest):
        raise ImportRefused(f"the graph has the outputs {_listed(values)}: say which one Axon shall answer (--output).")
    _check_one_decision({**heads, **found, **chosen})
    told = _labels_of(found, chosen, are_given=labels is not None)
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


def _check_one_decision(answers: Mapping[str, Probabilities | Mapped | Chosen]) -> None:
    """Refuses outputs of several heads: one is compared and answered, so the others would be lost.

    Raises:
        ImportRefused: Two outputs do not always prefer the same class.
    """
    if len(answers) < 2:
        return
    (first, head), *others = answers.items()
    for name, content in others:
        if not is_same_decision(_scores(head), _scores(content)):
            raise ImportRefused(
                f"the outputs {first!r} and {name!r} come from different scores of classes, and Axon answers one: say "
                "which one (--output)."
            )


def _scores(content: Probabilities | Mapped | Chosen) -> Hidden | Probabilities:
    match content:
        case Probabilities():
            return content
        case Mapped():
            return content.values
        case Chosen():
            return content.scores


def _labels_of(
    found: Mapping[str, Probabilities | Mapped], chosen: Mapping[str, Chosen], *, are_given: bool
) -> tuple[Label, ...] | None:
    """Returns the labels that the outputs show; those that a node only knows, if no output shows labels.

    Args:
        found: outputs of probabilities or of scores.
        chosen: outputs of a chosen class.
        are_given: True if the user gives the labels, so that those of the graph do not count.

    Raises:
        ImportRefused: Two outputs name the classes differently.
    """
    naming: dict[str, Chosen | Mapped] = {name: one for name, one in found.items() if isinstance(one, Mapped)}
    naming = {**chosen, **naming}
    shown = {name: content.labels for name, content in naming.items() if content.labels}
    if len(set(shown.values())) > 1 and not are_given:
        (first, labels), (second, others) = _two_of(shown)
        raise ImportRefused(
            f"the output {first!r} names the classes {', '.join(map(str, labels[:5]))}, and the output {second!r} "
            f"{', '.join(map(str, others[:5]))}: say which one Axon shall answer (--output)."
        )
    known = (content.labels for content in found.values() if content.labels)
    return next(iter(shown.values()), None) or next(known, None)


def _two_of(shown: Mapping[str, tuple[Label, ...]]) -> tuple[tuple[str, tuple[Label, ...]], ...]:
    """Returns the first two outputs with different labels."""
    first = next(iter(shown.items()))
    return first, next(other for other in shown.items() if other[1] != first[1])


def _content(walk: GraphWalk, name: str) -> Content:
    value = walk.value(name)
    if not isinstance(value, RowValue):
        raise ImportRefused(f"the output {name!r} does not depend on the row.")
    needed = walk.needed([name])
    pair = two_classes(walk.chain, value.content, Node(needed[-1], 1)) if needed else None
    return value.content if pair is None else pair


def _listed(values: Mapping[str, Content]) -> str:
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
        inner = None if form is None else form.as_sigmoid()
        if inner is not None:
            if task is None and labels is None:
                raise ImportRefused(
                    f"the output {name!r} is one number from 0 to 1: say --task classification if it is the "
                    "probability of the second class (--labels gives the names of both), or --task regression."
                )
            if is_classifier:
                logit = walk.chain.hidden(content.argument, node)
                logit = logit.scaled(np.array([inner[0]]), np.array([inner[1]]))
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
    return form is not None and (form.activation == "sigmoid" or form.as_sigmoid() is not None)


def _answer(output: Literal["softmax", "sigmoid", "linear"], last: Hidden, name: str, form: Form) -> Answer:
    return Answer(output=output, last=last, tensor=name, form=form, outputs=(name,))
