"""Reverse-mode automatic differentiation over NumPy arrays, small enough to read in one sitting.

A `Value` is an array with references to the operation and the values that it was computed from. The values and
references form the computational graph. `Value.backward` visits the graph from the result to the inputs and applies
the chain rule once at each node, so that one pass gives the gradient with respect to every value (Linnainmaa 1976,
Taylor expansion of the accumulated rounding error; Griewank & Walther 2008, Evaluating derivatives).

    w, x, y = Value(0.5, name="w"), Value(3.0, name="x"), Value(2.0, name="y")
    loss = (w * x - y) ** 2
    loss.backward()
    w.grad  # 2·(w·x - y)·x = -3
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from models.errors import DataError
from models.network import functional

Array: TypeAlias = npt.NDArray[np.float64]
Operand: TypeAlias = "Value | npt.ArrayLike"
# Maps the gradient of a node's output to the gradients of its inputs, one for each parent.
PullBack: TypeAlias = Callable[[Array], tuple[Array, ...]]


class Value:
    """A float64 array of the computational graph, with its gradient.

    Attributes:
        data: value of the forward pass, any shape; always finite, and read-only.
        grad: gradient of the result of the latest `backward` call, same shape as `data`; zeros before.
        operation: symbol of the operation that computed the value; None for an input.
        parents: operands of that operation; empty for an input.
        name: label for tables and drawings, or None.
    """

    data: Array
    grad: Array
    operation: str | None
    parents: tuple[Value, ...]
    name: str | None
    _pull_back: PullBack

    __slots__ = ("_pull_back", "data", "grad", "name", "operation", "parents")
    __array_ufunc__ = None  # makes NumPy leave `array * value` to `Value.__rmul__`

    def __init__(self, data: npt.ArrayLike, *, name: str | None = None) -> None:
        """Makes an input of the graph.

        Args:
            data: number or array, any shape.
            name: label for tables and drawings.

        Raises:
            DataError: the data has a number that is not finite.
        """
        self._set(np.array(data, dtype=np.float64), operation=None, parents=(), pull_back=lambda _: ())
        self.name = name

    def __repr__(self) -> str:
        """Shows the operation, the data and the gradient."""
        made = "" if self.operation is None else f", operation={self.operation!r}"
        name = "" if self.name is None else f", name={self.name!r}"
        return f"Value({self.data.tolist()}, grad={self.grad.tolist()}{made}{name})"

    def named(self, name: str) -> Value:
        """Gives this value a label and returns the value."""
        self.name = name
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `data`."""
        return self.data.shape

    def graph(self) -> tuple[Value, ...]:
        """Returns this value and all values in its computation, each once, operands before results."""
        order: list[Value] = []
        seen: set[int] = set()
        # An explicit stack: a chain of thousands of operations would exceed Python's recursion limit.
        stack: list[tuple[Value, bool]] = [(self, False)]
        while stack:
            value, parents_are_done = stack.pop()
            if parents_are_done:
                order.append(value)
            elif id(value) not in seen:
                seen.add(id(value))
                stack.append((value, True))
                stack.extend((parent, False) for parent in reversed(value.parents))
        return tuple(order)

    def backward(self) -> None:
        """Computes the gradient of this scalar with respect to every value of its graph, into `grad`.

        The call replaces the gradients of an earlier call. A value with several uses gets the sum over its uses.

        Raises:
            DataError: this value is not a scalar, or a gradient is not finite, as for x ** 0.5 at x = 0.
        """
        if self.data.size != 1:
            raise DataError(f"backward starts from a scalar, and this value has the shape {self.shape}: sum it first.")
        order = self.graph()
        for value in order:
            value.grad = np.zeros_like(value.data)
        self.grad = np.ones_like(self.data)
        for value in reversed(order):
            with np.errstate(all="ignore"):  # `_check_finite` refuses infinite gradients below
                gradients = value._pull_back(value.grad)
                for parent, gradient in zip(value.parents, gradients, strict=True):
                    parent.grad = parent.grad + _summed_to(gradient, parent.shape)
            for parent in value.parents:
                _check_finite(parent.grad, f"the gradient of {value.operation!r}")

    def __add__(self, other: Operand) -> Value:
        """Adds another value, with NumPy's broadcasting."""
        b = _as_value(other)
        return _computed("+", self.data + b.data, (self, b), lambda g: (g, g))

    def __sub__(self, other: Operand) -> Value:
        """Subtracts another value, with NumPy's broadcasting."""
        b = _as_value(other)
        return _computed("-", self.data - b.data, (self, b), lambda g: (g, -g))

    def __mul__(self, other: Operand) -> Value:
        """Multiplies elementwise, with NumPy's broadcasting."""
        a, b = self.data, _as_value(other)
        return _computed("×", _quiet(np.multiply, a, b.data), (self, b), lambda g: (g * b.data, g * a))

    def __truediv__(self, other: Operand) -> Value:
        """Divides elementwise, with NumPy's broadcasting."""
        a, b = self.data, _as_value(other)
        quotient = _quiet(np.divide, a, b.data)
        return _computed("÷", quotient, (self, b), lambda g: (g / b.data, -g * quotient / b.data))

    def __pow__(self, exponent: Operand) -> Value:
        """Raises to a power: any finite power of a number, or aᵇ = exp(b·log a) for a Value b and positive a."""
        if not isinstance(exponent, int | float | np.number):
            return (self.log() * exponent).exp()
        a = self.data
        exponent = float(exponent)
        power = _quiet(np.power, a, exponent)

        def pull_back(g: Array) -> tuple[Array]:
            # a⁰ is 1 everywhere; the formula below would be 0·∞ at a = 0.
            return (g * exponent * np.power(a, exponent - 1.0) if exponent else np.zeros_like(g),)

        return _computed(f"^{exponent:g}", power, (self,), pull_back)

    def __neg__(self) -> Value:
        """Changes the sign."""
        return _computed("neg", -self.data, (self,), lambda g: (-g,))

    def __radd__(self, other: npt.ArrayLike) -> Value:
        """Adds a plain array on the left."""
        return _as_value(other) + self

    def __rsub__(self, other: npt.ArrayLike) -> Value:
        """Subtracts this value from a plain array on the left."""
        return _as_value(other) - self

    def __rmul__(self, other: npt.ArrayLike) -> Value:
        """Multiplies a plain array on the left."""
        return _as_value(other) * self

    def __rtruediv__(self, other: npt.ArrayLike) -> Value:
        """Divides a plain array on the left."""
        return _as_value(other) / self

    def __rpow__(self, other: npt.ArrayLike) -> Value:
        """Raises a plain, positive array on the left to this power."""
        return (self * _as_value(other).log()).exp()

    def __matmul__(self, other: Operand) -> Value:
        """Multiplies matrices and vectors: (m, n) or (n,) by (n, p) or (n,).

        Raises:
            DataError: an operand is neither a vector nor a matrix, or the inner sizes differ.
        """
        b = _as_value(other)
        if not (1 <= self.data.ndim <= 2 and 1 <= b.data.ndim <= 2) or self.shape[-1] != b.shape[0]:
            raise DataError(f"matrices of the shapes {self.shape} and {b.shape} cannot be multiplied.")
        rows = self.data if self.data.ndim == 2 else self.data[None, :]  # (m, n)
        columns = b.data if b.data.ndim == 2 else b.data[:, None]  # (n, p)

        def pull_back(g: Array) -> tuple[Array, Array]:
            upstream = g.reshape(len(rows), columns.shape[1])  # (m, p), also if the product has fewer axes
            return (upstream @ columns.T).reshape(self.shape), (rows.T @ upstream).reshape(b.shape)

        return _computed("@", _quiet(np.matmul, self.data, b.data), (self, b), pull_back)

    def __rmatmul__(self, other: npt.ArrayLike) -> Value:
        """Multiplies a plain matrix or vector on the left."""
        return _as_value(other) @ self

    def exp(self) -> Value:
        """Computes eᶻ elementwise."""
        e = _quiet(np.exp, self.data)
        return _computed("exp", e, (self,), lambda g: (g * e,))

    def log(self) -> Value:
        """Computes the natural logarithm elementwise.

        Raises:
            DataError: an element is 0 or negative.
        """
        return _computed("log", _quiet(np.log, self.data), (self,), lambda g: (g / self.data,))

    def tanh(self) -> Value:
        """Computes the hyperbolic tangent elementwise."""
        t = np.tanh(self.data)
        return _computed("tanh", t, (self,), lambda g: (g * (1 - t * t),))

    def relu(self) -> Value:
        """Computes max(z, 0) elementwise; the gradient at 0 is 0, as in torch."""
        return _computed("relu", np.maximum(self.data, 0), (self,), lambda g: (g * (self.data > 0),))

    def sigmoid(self) -> Value:
        """Computes 1 / (1 + e⁻ᶻ) elementwise, without overflow."""
        s = np.asarray(functional.sigmoid(self.data), dtype=np.float64)
        return _computed("sigmoid", s, (self,), lambda g: (g * s * (1 - s),))

    def sum(self, axis: int | None = None, *, keepdims: bool = False) -> Value:
        """Sums over all elements, or over one axis.

        Args:
            axis: axis to sum over; None sums everything.
            keepdims: True to keep the summed axes, with size 1.
        """

        def pull_back(g: Array) -> tuple[Array]:
            if axis is not None and not keepdims:
                g = np.expand_dims(g, axis)
            return (np.broadcast_to(g, self.shape),)

        total = np.asarray(self.data.sum(axis=axis, keepdims=keepdims))
        return _computed("sum", total, (self,), pull_back)

    def mean(self) -> Value:
        """Averages all elements."""
        return self.sum() / self.data.size

    def _set(self, data: Array, *, operation: str | None, parents: tuple[Value, ...], pull_back: PullBack) -> None:
        _check_finite(data, "an input" if operation is None else f"the result of {operation!r}")
        data.flags.writeable = False  # a change in place would make the derivatives wrong
        self.data = data
        self.grad = np.zeros_like(data)
        self.operation = operation
        self.parents = parents
        self.name = None
        self._pull_back = pull_back


def _computed(operation: str, data: npt.ArrayLike, parents: tuple[Value, ...], pull_back: PullBack) -> Value:
    """Makes a node of the graph from the result of an operation."""
    value = Value.__new__(Value)
    value._set(np.asarray(data, dtype=np.float64), operation=operation, parents=parents, pull_back=pull_back)
    return value


def _as_value(operand: Operand) -> Value:
    return operand if isinstance(operand, Value) else Value(operand)


def _quiet(operation: Callable[..., Array], *operands: Array | float) -> Array:
    """Computes without NumPy's warnings; `_check_finite` refuses a result that is not finite."""
    with np.errstate(all="ignore"):
        return operation(*operands)


def _summed_to(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Sums a gradient over the axes along which broadcasting had repeated the operand.

    Args:
        gradient: gradient of the broadcast operand, any shape that `shape` broadcasts to.
        shape: shape of the operand itself.
    """
    added = tuple(range(gradient.ndim - len(shape)))
    gradient = gradient.sum(axis=added)
    repeated = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return np.asarray(gradient.sum(axis=repeated, keepdims=True))


def _check_finite(array: Array, what: str) -> None:
    if not np.isfinite(array).all():
        raise DataError(f"{what} is not a finite number.")
