"""The form of an answer: which outputs a request asks for, and how each is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.columns.cells import listed, shown
from service.answer_form import AnswerForm
from service.errors import InvalidRequest

PREDICTIONS, PROBABILITIES = "predictions", "probabilities"


@dataclass(frozen=True, slots=True)
class WantedOutput:
    """One output that a request asks for.

    Attributes:
        name: name of the output.
        is_binary: True if the data goes as bytes behind the JSON part.
        classes: number of most probable classes to give as `score:index:label`; 0 for the tensor itself.
    """

    name: str
    is_binary: bool = False
    classes: int = 0


class Layout:
    """The outputs of an answer. Requests of a client have equal layouts, for which writers prepare texts.

    Args:
        outputs: outputs in order; None for all outputs of the model.
        is_binary: True if all outputs go as bytes where `outputs` is None.

    Attributes:
        outputs: outputs in order; None for all outputs of the model.
        is_binary: True if all outputs go as bytes where `outputs` is None.
    """

    __slots__ = ("_hash", "is_binary", "outputs")

    def __init__(self, outputs: tuple[WantedOutput, ...] | None = None, *, is_binary: bool = False) -> None:
        self.outputs = outputs
        self.is_binary = is_binary
        self._hash = hash((outputs, is_binary))  # computed once: a layout is looked up for each answer

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and (self.outputs, self.is_binary) == (other.outputs, other.is_binary)


JSON_LAYOUT, BINARY_LAYOUT = Layout(), Layout(is_binary=True)


class InferForm(AnswerForm):
    """The form of the answer to an inference request.

    Args:
        layout: outputs of the answer.
        id_: identifier of the request, which its answer repeats; None for none.
        seconds: time that the request allows, in seconds; None for the server's.
        members: number of members of an ensemble that answer; None for all.

    Attributes:
        layout: outputs of the answer.
        id: identifier of the request, which its answer repeats; None for none.
        seconds: time that the request allows, in seconds; None for the server's.
    """

    __slots__ = ("id", "layout")

    def __init__(
        self,
        layout: Layout = JSON_LAYOUT,
        id_: str | None = None,
        seconds: float | None = None,
        members: int | None = None,
    ) -> None:
        super().__init__(seconds, members)
        self.layout = layout
        self.id = id_


def wanted_outputs(layout: Layout, labels: Sequence[object] | None) -> tuple[WantedOutput, ...]:
    """Returns the outputs of a layout for one model.

    Args:
        layout: outputs that a request asks for.
        labels: labels of a classifier; None for a regressor.

    Raises:
        InvalidRequest: the model has no such output, or has no classes.
    """
    check_outputs(layout, labels)
    if layout.outputs is None:
        return tuple(WantedOutput(name, layout.is_binary) for name in _names(labels))
    return layout.outputs


def check_outputs(layout: Layout, labels: Sequence[object] | None) -> None:
    """Checks that a model has the outputs of a layout.

    Args:
        layout: outputs that a request asks for.
        labels: labels of a classifier; None for a regressor.

    Raises:
        InvalidRequest: the model has no such output, or has no classes.
    """
    if layout.outputs is None:
        return
    names = _names(labels)
    for output in layout.outputs:
        if output.name not in names:
            raise InvalidRequest(f"The model has no output {shown(output.name)}; its outputs are {listed(names)}.")
        if output.classes and output.name != PROBABILITIES:
            raise InvalidRequest(
                f"Output {output.name!r} has no classes: `classification` is for the output {PROBABILITIES!r} of a "
                "classifier."
            )


def _names(labels: Sequence[object] | None) -> tuple[str, ...]:
    return (PREDICTIONS,) if labels is None else (PREDICTIONS, PROBABILITIES)


def distinct(outputs: Sequence[WantedOutput]) -> tuple[WantedOutput, ...]:
    """Returns outputs as a tuple if no name stands twice.

    Raises:
        InvalidRequest: a name stands twice.
    """
    names = [output.name for output in outputs]
    if len(set(names)) != len(names):
        raise InvalidRequest("The request asks for an output twice.")
    return tuple(outputs)
