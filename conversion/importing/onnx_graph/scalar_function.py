"""Functions of one number: what a chain of elementwise operators of a graph computes.

Exporters write some activations with several operators, and not always the same ones: GELU by Erf or by Tanh, Mish by
Softplus and Tanh, Hardswish by Clip. So a function is kept as its values on a grid, in float64, and is recognised by
these values. A second grid of far numbers tells a bound of 100 from none: a column that is not scaled reaches it.
Operators on a function cost the same however many came before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from models.network.config import LayerActivation
from models.network.layer_activations import activate

Float64Array = NDArray[np.float64]

GRID: Float64Array = np.arange(-1_600, 1_601) / 128.0  # exact numbers from -12.5 to 12.5, with 0 among them
GRID.setflags(write=False)
# Powers of 2 from 16 to 2⁹⁹ (6e29) with both signs: bounds of float32's largest number are none, and are not seen here.
_POWERS: Float64Array = np.ldexp(1.0, np.arange(4, 100)).astype(np.float64)
FAR: Float64Array = np.concatenate([-_POWERS[::-1], _POWERS])
FAR.setflags(write=False)
# Constants in a graph are rounded to float32: √½ by 2e-8 of its size, which the function passes on.
_TOLERANCE = 1e-6
_UNBOUNDED = float(np.finfo(np.float32).max)
_MOST_NUMBERS = 12  # constants that are tried as the scale of an activation's input

# Activations without constants, which composite functions are compared with.
_PLAIN: tuple[LayerActivation, ...] = (
    "relu",
    "gelu",
    "gelu_tanh",
    "silu",
    "mish",
    "tanh",
    "sigmoid",
    "hardswish",
    "logsigmoid",
    "softplus",
    "softsign",
    "selu",
)
# Activation, scale and shift of the value, and factor of the argument of each function that is a sigmoid.
_SIGMOIDS: tuple[tuple[LayerActivation, float, float, float], ...] = (
    ("sigmoid", 1.0, 0.0, 1.0),
    ("sigmoid", -1.0, 1.0, -1.0),
    ("tanh", 0.5, 0.5, 2.0),
    ("tanh", -0.5, 0.5, -2.0),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A known form of a function: `out_scale·f(in_scale·t + in_shift) + out_shift`.

    Attributes:
        activation: name of f.
        constants: constants of f; empty for the defaults.
        in_scale, in_shift: numbers that f's argument is scaled by and shifted by.
        out_scale, out_shift: numbers that f's value is scaled by and shifted by.
    """

    activation: LayerActivation = "identity"
    constants: tuple[float, ...] = ()
    in_scale: float = 1.0
    in_shift: float = 0.0
    out_scale: float = 1.0
    out_shift: float = 0.0

    @property
    def is_affine(self) -> bool:
        """True if f is the identity."""
        return self.activation == "identity"

    def scaled(self, scale: float, shift: float) -> Form:
        """Returns the form of `scale·function + shift`."""
        return replace(self, out_scale=self.out_scale * scale, out_shift=self.out_shift * scale + shift)

    def as_sigmoid(self) -> tuple[float, float] | None:
        """Returns scale and shift of t in `σ(scale·t + shift)`; None if the form is no such function.

        `1 - σ(z)` is σ(-z), and `½·tanh(z) + ½` is σ(2z).
        """
        for activation, out_scale, out_shift, factor in _SIGMOIDS:
            off = max(abs(self.out_scale - out_scale), abs(self.out_shift - out_shift))
            if self.activation == activation and off <= _TOLERANCE / 10:
                return factor * self.in_scale, factor * self.in_shift
        return None

    def slope_and_shift(self) -> tuple[float, float]:
        """Returns the scale and the shift of an affine form as one pair."""
        return self.in_scale * self.out_scale, self.in_shift * self.out_scale + self.out_shift


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ScalarFunction:
    """A function of one number t.

    Attributes:
        values: float64 (or boolean) values on `GRID`.
        far: values on `FAR`, of the same type; not finite where an operator overflows.
        form: form of the function, if it is one activation with scales and shifts; None otherwise.
        numbers: constants that the graph multiplied by; candidates for the scale of an activation's input.
    """

    values: NDArray[np.generic]
    far: NDArray[np.generic]
    form: Form | None
    numbers: frozenset[float] = frozenset()

    @classmethod
    def identity(cls) -> ScalarFunction:
        """Returns the function t → t."""
        return cls(values=GRID, far=FAR, form=Form())

    @classmethod
    def of(
        cls, function: Callable[[Float64Array], NDArray[np.generic]], numbers: frozenset[float] = frozenset()
    ) -> ScalarFunction:
        """Returns a function of unknown form.

        Args:
            function: function from an array to an array of the same shape.
            numbers: candidates for the scale of an activation's input.
        """
        with np.errstate(all="ignore"):
            return cls(values=function(GRID), far=function(FAR), form=None, numbers=numbers)

    def scaled(self, scale: float, shift: float) -> ScalarFunction:
        """Returns `scale·function + shift`."""
        numbers = self.numbers
        if scale not in (0.0, 1.0) and len(numbers) < _MOST_NUMBERS:
            numbers = numbers | {abs(scale), 1 / abs(scale)}
        form = None if self.form is None or scale == 0 else self.form.scaled(scale, shift)
        with np.errstate(all="ignore"):
            far = _floats(self.far) * scale + shift
        return ScalarFunction(values=_floats(self.values) * scale + shift, far=far, form=form, numbers=numbers)

    def activated(self, activation: LayerActivation, constants: tuple[float, ...] = ()) -> ScalarFunction:
        """Returns the activation of the function."""
        with np.errstate(all="ignore"):
            values, far = (
                np.asarray(activate(activation, constants, _floats(own)), dtype=np.float64)
                for own in (self.values, self.far)
            )
        form = None
        if self.form is not None and self.form.is_affine:
            scale, shift = self.form.slope_and_shift()
            form = Form(activation=activation, constants=constants, in_scale=scale, in_shift=shift)
        return ScalarFunction(values=values, far=far, form=form, numbers=self.numbers)

    def mapped(self, function: Callable[..., NDArray[np.generic]], *others: ScalarFunction) -> ScalarFunction:
        """Returns an elementwise function of this function and others of the same argument."""
        with np.errstate(all="ignore"):
            values = function(self.values, *(other.values for other in others))
            far = function(self.far, *(other.far for other in others))
        numbers = self.numbers.union(*(other.numbers for other in others))
        kept = frozenset(sorted(numbers)[: 2 * _MOST_NUMBERS])
        return ScalarFunction(values=values, far=far, form=None, numbers=kept)

    def recognised(self) -> Form | None:
        """Returns the form of the function, found by its values if necessary; None for an unknown function."""
        if self.form is not None:
            return self.form
        if self.values.dtype == bool or not np.isfinite(_floats(self.values)).all():
            return None
        return next((form for form in self._candidates() if self._is(form)), None)

    def _is(self, form: Form) -> bool:
        own, far = _floats(self.values), _floats(self.far)
        bound = _TOLERANCE * max(float(np.abs(own).max()), 1e-6)
        if np.abs(values_of(form) - own).max() > bound:
            return False
        far_form = values_of(form, FAR)
        known = np.isfinite(far) & np.isfinite(far_form)
        # Relative, as a rounded slope gives a far number an error of the number's own size.
        return bool((np.abs(far_form - far)[known] <= np.maximum(_TOLERANCE * np.abs(far[known]), bound)).all())

    def _candidates(self) -> Iterator[Form]:
        own = _floats(self.values)
        straight = Form(in_scale=float(own[-1] - own[0]) / float(GRID[-1] - GRID[0]))
        yield straight.scaled(1.0, float(own[len(own) // 2]))
        yield from _broken_lines(own)
        sizes = [1.0, *sorted(self.numbers - {1.0})]
        for scale in (signed for size in sizes for signed in (size, -size)):
            for activation in _PLAIN:
                yield _fitted(Form(activation=activation, in_scale=scale), own)
            yield _fitted(Form(activation="elu", in_scale=scale, constants=(_elu_alpha(own),)), own)
        yield from _hard_forms(own, _floats(self.far))


def _floats(values: NDArray[np.generic]) -> Float64Array:
    return np.asarray(values, dtype=np.float64)


def values_of(form: Form, grid: Float64Array = GRID) -> Float64Array:
    """Returns the values of a form on a grid."""
    with np.errstate(all="ignore"):
        inner = activate(form.activation, form.constants, grid * form.in_scale + form.in_shift)
        return np.asarray(inner * form.out_scale + form.out_shift, dtype=np.float64)


def _fitted(form: Form, values: Float64Array) -> Form:
    """Returns the form with the scale and the shift that fit values on the grid best."""
    own = values_of(form)
    if not np.isfinite(own).all() or np.ptp(own) == 0:
        return form
    centred = own - own.mean()
    scale = float(centred @ (values - values.mean()) / (centred @ centred))
    shift = float(values.mean() - scale * own.mean())
    size = max(float(np.abs(values).max()), 1e-6)
    near = [candidate for candidate in (0.0, 1.0, -1.0, 0.5) if abs(shift - candidate) <= _TOLERANCE * size]
    shift = near[0] if near else shift
    nearest = round(scale)
    scale = float(nearest) if nearest and abs(scale - nearest) <= _TOLERANCE / 10 else scale
    return replace(form, out_scale=scale, out_shift=shift)


def _broken_lines(values: Float64Array) -> Iterator[Form]:
    """Yields the leaky ReLU with the slopes on both sides of 0."""
    middle, step = len(values) // 2, float(GRID[1] - GRID[0])
    left = float(values[middle] - values[middle - 1]) / step
    right = float(values[middle + 1] - values[middle]) / step
    if right:
        yield Form(activation="leaky_relu", constants=(left / right,), out_scale=right, out_shift=float(values[middle]))


def _hard_forms(values: Float64Array, far: Float64Array) -> Iterator[Form]:
    """Yields the bounded lines with the bounds and the slope of a function; far values may have the bounds."""
    middle = len(far) // 2
    every = np.concatenate([far[:middle], values, far[middle:]])
    if not np.isfinite(every).all():
        return
    least, most = float(every.min()), float(every.max())
    for end, before in ((every[0], every[1]), (every[-1], every[-2])):  # a line that still moves has no bound there
        least = -_UNBOUNDED if end < before else least
        most = _UNBOUNDED if end > before else most
    steps = np.diff(values)
    slope = float(steps[np.abs(steps).argmax()]) / float(GRID[1] - GRID[0])
    if not slope:
        return
    inside = np.flatnonzero((values > least) & (values < most))
    if len(inside):
        at = int(inside[len(inside) // 2])
        shift = float(values[at]) - slope * float(GRID[at])
        yield Form(activation="hardtanh", constants=(least, most), in_scale=slope, in_shift=shift)


def _elu_alpha(values: Float64Array) -> float:
    """Returns the α of an ELU with slope 1 that has given values."""
    middle = len(values) // 2
    return max(float(values[middle] - values[0]) / -float(np.expm1(GRID[0])), 1e-12)


# Elementwise operators without attributes that are no activation of their own; they make a composite function.
UNARY: Mapping[str, Callable[[NDArray[np.generic]], NDArray[np.generic]]] = MappingProxyType(
    {
        "Abs": np.abs,
        "Exp": np.exp,
        "Log": np.log,
        "Reciprocal": np.reciprocal,
        "Sqrt": np.sqrt,
        "Not": np.logical_not,
    }
)
BINARY: Mapping[str, Callable[..., NDArray[np.generic]]] = MappingProxyType(
    {
        "Add": np.add,
        "Sub": np.subtract,
        "Mul": np.multiply,
        "Div": np.divide,
        "Max": np.maximum,
        "Min": np.minimum,
        "Pow": np.power,
        "Greater": np.greater,
        "GreaterOrEqual": np.greater_equal,
        "Less": np.less,
        "LessOrEqual": np.less_equal,
        "And": np.logical_and,
        "Or": np.logical_or,
    }
)
