"""Values of a graph as functions of a row: features of the table, units of a network, and the results of a head.

A `RowValue` is a tensor whose first axis is the batch. Its other axes are kept as `dims`; the contents are the numbers
of one row in row-major order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from conversion.importing.affine_features import AffineFeature, Feature
from conversion.importing.onnx_graph.node import Node
from conversion.importing.onnx_graph.scalar_function import ScalarFunction
from models.columns.labels import Label
from models.network.sequence import SequenceLayer

Float64Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Affine functions of the table's cells.

    Attributes:
        items: features of a row, in order.
        truncated: True if the graph cut the numbers to whole ones, so that they can only name categories.
    """

    items: tuple[Feature, ...]
    truncated: bool = False

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.items)

    def taken(self, index: IntArray) -> Features:
        """Returns the features at some places."""
        return replace(self, items=tuple(self.items[i] for i in index.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Base:
    """The units after some layers of the network, the point to which later values refer.

    Attributes:
        parent: units before these layers; None for the features of the table.
        features: features of the table at the beginning of the network; None elsewhere.
        layers: layers from the parent to these units.
        tensors: tensors of the layers, by the layers' names.
        width: number of units.
    """

    parent: Base | None
    features: tuple[AffineFeature, ...] | None
    layers: tuple[SequenceLayer, ...]
    tensors: Mapping[str, Mapping[str, Float64Array]]
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Hidden:
    """Affine functions of the units of a base: `matrix·units + shift`, or `scale·units[index] + shift`.

    Attributes:
        base: units of the network.
        shift: `(width,)` constants.
        matrix: `(width, base.width)` weights; None for single units.
        index: `(width,)` positions of the units, without a matrix.
        scale: `(width,)` factors of the units, without a matrix.
        name: name for the Linear that a matrix becomes; empty for none.
    """

    base: Base
    shift: Float64Array
    matrix: Float64Array | None = None
    index: IntArray | None = None
    scale: Float64Array | None = None
    name: str = ""
    made: list[Base] = field(default_factory=list)  # the base that this became, once

    @classmethod
    def of(cls, base: Base) -> Hidden:
        """Returns the unchanged units of a base."""
        width = base.width
        return cls(base, np.zeros(width), index=np.arange(width), scale=np.ones(width))

    @property
    def width(self) -> int:
        """Number of functions."""
        return len(self.shift)

    def taken(self, index: IntArray) -> Hidden:
        """Returns the functions at some places."""
        if self.matrix is not None:
            return Hidden(self.base, self.shift[index], matrix=self.matrix[index], name=self.name)
        own, scale = self.parts()
        return Hidden(self.base, self.shift[index], index=own[index], scale=scale[index])

    def scaled(self, scale: Float64Array, shift: Float64Array) -> Hidden:
        """Returns `scale·functions + shift`; both `(width,)`."""
        shift = self.shift * scale + shift
        if self.matrix is not None:
            return Hidden(self.base, shift, matrix=self.matrix * scale[:, None], name=self.name)
        index, own = self.parts()
        return Hidden(self.base, shift, index=index, scale=own * scale)

    def parts(self) -> tuple[IntArray, Float64Array]:
        """Returns index and scale of single units."""
        if self.index is None or self.scale is None:
            raise ValueError("the functions have a matrix.")
        return self.index, self.scale

    def dense(self) -> Float64Array:
        """Returns the weights as a matrix, `(width, base.width)`."""
        if self.matrix is not None:
            return self.matrix
        index, scale = self.parts()
        matrix = np.zeros((self.width, self.base.width))
        matrix[np.arange(self.width), index] = scale
        return matrix

    @property
    def is_in_order(self) -> bool:
        """True if each unit of the base stands once, in order, with a factor and a shift."""
        return self.index is not None and np.array_equal(self.index, np.arange(self.base.width))

    @property
    def is_plain(self) -> bool:
        """True if the functions are the unchanged units."""
        return self.is_in_order and bool((self.parts()[1] == 1).all()) and not self.shift.any()


@dataclass(frozen=True, slots=True, eq=False)
class Elementwise:
    """One function of a number, applied to each of some affine functions.

    Attributes:
        argument: affine functions.
        function: function of a number.
        node: description of the node that made the function, for messages.
        before: the same without the last activation, and the activation; None if a binary operator came last.
        outer: scale and shift after that activation.
        made: the affine functions that this became, once.
    """

    argument: Features | Hidden
    function: ScalarFunction
    node: str
    before: tuple[Elementwise, Activation] | None = None
    outer: tuple[float, float] = (1.0, 0.0)
    made: list[Hidden] = field(default_factory=list)

    @property
    def width(self) -> int:
        """Number of values."""
        return self.argument.width


@dataclass(frozen=True, slots=True)
class Activation:
    """An activation with its constants."""

    name: str
    constants: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A part of a LayerNorm that the exporter wrote operator by operator.

    Attributes:
        kind: `mean`, `centred`, `squared`, `variance` or `deviation`.
        of: units that are normalised.
        eps: number added to the variance.
        width: number of values.
    """

    kind: Literal["mean", "centred", "squared", "variance", "deviation"]
    of: Hidden
    width: int
    eps: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """A number for each category of a column.

    Attributes:
        column: name of the column.
        numbers: number of each text, Axon's category; the number of a gap stands under None.
        default: number of any other text; None if there is none.
    """

    column: str
    numbers: Mapping[str | None, float]
    default: float | None
    width: int = 1


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a cell: a gap, one category, or a category that is not known.

    Attributes:
        column: name of the column.
        kind: `gap`, `category` or `unknown`.
        category: text of the category.
    """

    column: str
    kind: Literal["gap", "category", "unknown"]
    category: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """Truth values of a row: each is true if one of its conditions holds, or if an answer is not a finite number.

    Attributes:
        conditions: conditions of each value.
        negated: True if each value is the opposite.
    """

    conditions: tuple[frozenset[Condition], ...]
    negated: bool = False

    @property
    def width(self) -> int:
        """Number of values."""
        return len(self.conditions)

    def taken(self, index: IntArray) -> Mask:
        """Returns the values at some places."""
        return replace(self, conditions=tuple(self.conditions[i] for i in index.tolist()))


@dataclass(frozen=True, slots=True, eq=False)
class Probabilities:
    """Probabilities of classes, which only a head makes.

    Attributes:
        kind: `softmax`, `log_softmax` (their logarithms) or `sigmoid` (two classes from one logit).
        logits: values before the head.
        width: number of classes.
        labels: labels of the classes, where the graph tells them.
        node: description of the node that made the probabilities.
    """

    kind: Literal["softmax", "log_softmax", "sigmoid"]
    logits: Hidden
    width: int
    node: str
    labels: tuple[Label, ...] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The class with the greatest score.

    Attributes:
        scores: scores or probabilities of the classes.
        tensor: name of the tensor with the scores.
        labels: labels of the classes; None for their numbers.
        marks: answers to the rows that the graph refuses, which are no classes.
    """

    scores: Hidden | Probabilities
    tensor: str
    labels: tuple[Label, ...] | None = None
    marks: tuple[Label, ...] = ()
    width: int = 1

    def marked(self, marks: Sequence[Label], node: Node) -> Chosen:
        """Returns the class with other answers to refused rows.

        Args:
            marks: answers to refused rows.
            node: node of the operator.

        Raises:
            ImportRefused: One of the answers is a class, so the rows are not refused, but answered by a rule.
        """
        for mark in marks:
            if mark in (self.labels or range(self.scores.width)):
                raise node.refused(
                    f"answers the class {mark!r} by a condition on cells; Axon answers by the network alone: leave the "
                    "rule to the program that asks"
                )
        return replace(self, marks=tuple(marks))


@dataclass(frozen=True, slots=True, eq=False)
class Mapped:
    """The scores or probabilities of each class by label, as ZipMap makes for each row.

    Attributes:
        values: scores or probabilities.
        labels: labels of the classes.
        tensor: name of the tensor with the scores.
    """

    values: Hidden | Probabilities
    labels: tuple[Label, ...]
    tensor: str

    @property
    def width(self) -> int:
        """Number of classes."""
        return len(self.labels)


Content = Features | Hidden | Elementwise | Moment | Codes | Mask | Probabilities | Chosen | Mapped


@dataclass(frozen=True, slots=True, eq=False)
class RowValue:
    """A tensor with one row for each row of the batch.

    Attributes:
        content: numbers of a row.
        dims: lengths of the axes after the batch.
    """

    content: Content
    dims: tuple[int, ...]

    @classmethod
    def flat(cls, content: Content) -> RowValue:
        """Returns a matrix, `(rows, width)`."""
        return cls(content, (content.width,))

    @property
    def is_matrix(self) -> bool:
        """True if the last axis holds all numbers of a row."""
        return bool(self.dims) and math.prod(self.dims[:-1]) == 1


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Whole numbers that the graph computes from shapes, where None stands for the number of rows.

    Attributes:
        numbers: numbers in order.
        is_scalar: True for a tensor without axes.
    """

    numbers: tuple[int | None, ...]
    is_scalar: bool = False


# A tensor of the graph: a constant, numbers of a shape, or something that differs from row to row.
Value = NDArray[np.generic] | Dimensions | RowValue
