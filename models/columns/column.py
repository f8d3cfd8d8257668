"""A feature column as data: what it is called, what training found in it, and the features that it becomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from models.columns.date_forms import check_form
from models.columns.dates import FIRST_DAY, LAST_DAY, PARTS, Part
from models.columns.fields import check_choice, check_name, distinct_strings, finite, shown
from models.errors import DataError

# What is at or beyond this rounds to infinity in float32. A little above the largest float32, whose shortest decimal
# form, 3.4028235e38, is above it too, and has to pass.
FLOAT32_LIMIT = 2.0**128 - 2.0**103
# A category's number travels as a float32, which holds every whole number up to this one.
MAX_INDEX = 2**24

Missing = Literal["refuse", "mean", "indicator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One number of an encoded row.

    Attributes:
        column: the name of the column that it comes from.
        kind: `number` is standardised before the network takes it; `flag` is taken as it is, within -1 to 1; `index`
            is a whole number from 0 to `categories`, to be looked up, where 0 stands for missing or unknown.
        categories: how many an index can name beside 0; 0 for the other kinds.
    """

    column: str
    kind: Literal["number", "flag", "index"]
    categories: int = 0


class _Standardised:
    """What columns of numbers and of dates have in common: an encoded number, and how it is standardised."""

    __slots__ = ()
    mean: float
    std: float
    origin: float
    center: float | None
    scale: float | None

    @property
    def fill(self) -> float:
        """What a missing value is replaced by: the centre."""
        return self.mean if self.center is None else self.center

    @property
    def shift(self) -> float:
        """What is subtracted from the encoded number (which has lost `origin` already)."""
        return self.fill - self.origin

    @property
    def divisor(self) -> float:
        """What the encoded number is divided by after that."""
        return self.std if self.scale is None else self.scale


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericColumn(_Standardised):
    """A column of numbers, one feature wide, or two with an indicator.

    Attributes:
        name: the column's name in the training table.
        mean, std: over the training part. `std` is above 0.
        minimum, maximum: the range seen in the training part.
        missing: what a missing value gets: `refuse` (an error), `mean` (the value of `fill`, so that the network
            sees 0) or `indicator` (`fill` too, and a second feature is 1 where the value is missing, else 0).
        origin: subtracted in float64 before the value is rounded to float32. It is 0 but for columns whose
            mean is large against their spread (a timestamp): rounding those first would lose the spread.
        center, scale: the network sees `(x - center) / scale`; None means `mean` and `std`. `scale` is above 0.
    """

    kind: ClassVar[Literal["numeric"]] = "numeric"
    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    missing: Missing = "refuse"
    origin: float = 0.0
    center: float | None = None
    scale: float | None = None

    def __post_init__(self) -> None:
        _check_statistics(self)
        # A missing value becomes fill - origin, so that has to be a float32 like any other cell.
        if not abs(self.fill - self.origin) < FLOAT32_LIMIT:
            field = "mean" if self.center is None else "center"
            raise DataError(f"column {self.name!r}: {field} - origin is too large for 32-bit floating point.")

    @property
    def width(self) -> int:
        """Features that this column becomes."""
        return 2 if self.missing == "indicator" else 1

    @property
    def features(self) -> tuple[Feature, ...]:
        """`(width,)` those features."""
        flags = (Feature(column=self.name, kind="flag"),) * (self.width - 1)
        return (Feature(column=self.name, kind="number"), *flags)


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalColumn:
    """A column of names.

    Attributes:
        name: the column's name in the training table.
        categories: the names known from the training part, in the order of their features.
        unknown: what a category outside them gets: `refuse` (an error) or `ignore` (all features 0, which training
            shows the network by dropping categories at random).
        missing: what a missing value gets, likewise.
        encoding: `one_hot` (a feature a category, 1 where it is that one), `sign` (one feature: -1 for the first of
            two categories, 1 for the second) or `index` (one feature: i + 1 for category i, to be looked up).
    """

    kind: ClassVar[Literal["categorical"]] = "categorical"
    name: str
    categories: tuple[str, ...]
    unknown: Literal["refuse", "ignore"] = "refuse"
    missing: Literal["refuse", "ignore"] = "refuse"
    encoding: Literal["one_hot", "sign", "index"] = "one_hot"

    def __post_init__(self) -> None:
        check_name(self.name)
        categories = distinct_strings(f"column {self.name!r}: categories", self.categories)
        object.__setattr__(self, "categories", categories)
        if not categories:
            raise DataError(f"column {self.name!r}: categories must be one or more.")
        check_choice(self.name, "unknown", self.unknown, ("refuse", "ignore"))
        check_choice(self.name, "missing", self.missing, ("refuse", "ignore"))
        check_choice(self.name, "encoding", self.encoding, ("one_hot", "sign", "index"))
        if self.encoding == "sign" and len(categories) != 2:
            raise DataError(f"column {self.name!r}: encoding sign is for two categories, got {len(categories)}.")
        if len(categories) > MAX_INDEX:
            raise DataError(f"column {self.name!r}: categories must be at most {MAX_INDEX:,}, got {len(categories):,}.")

    @property
    def width(self) -> int:
        """Features that this column becomes."""
        return len(self.categories) if self.encoding == "one_hot" else 1

    @property
    def features(self) -> tuple[Feature, ...]:
        """`(width,)` those features."""
        if self.encoding == "index":
            return (Feature(column=self.name, kind="index", categories=len(self.categories)),)
        return (Feature(column=self.name, kind="flag"),) * self.width


@dataclass(frozen=True, kw_only=True, slots=True)
class DateColumn(_Standardised):
    """A column of dates or moments: the time elapsed as a number, and parts of the calendar as points on a circle.

    Attributes:
        name: the column's name in the training table.
        mean, std, minimum, maximum: of the training part, in days since 1970-01-01T00:00Z. `std` is above 0.
        parts: the parts of the calendar that follow the elapsed time, two features each: the sine and the cosine of
            the part's turn through its period (`month`, `day` of the month, `weekday`, `hour`; all in UTC).
        missing: as in a numeric column. A missing date has elapsed time `fill` and 0 in both features of each part,
            the middle of the circle.
        origin, center, scale: as in a numeric column, in days.
        form: form of the training table's dates (`models.columns.date_forms`), which a request may use beside ISO
            8601; None if ISO 8601 is the only one.
    """

    kind: ClassVar[Literal["date"]] = "date"
    name: str
    mean: float
    std: float
    minimum: float
    maximum: float
    parts: tuple[Part, ...] = ()
    missing: Missing = "refuse"
    origin: float = 0.0
    center: float | None = None
    scale: float | None = None
    form: str | None = None

    def __post_init__(self) -> None:
        _check_statistics(self)
        # Then any date less origin is far within float32, and no request can overflow it.
        for field in ("mean", "minimum", "maximum", "origin", "center"):
            value = getattr(self, field)
            if value is not None and not FIRST_DAY <= value <= LAST_DAY:
                raise DataError(f"column {self.name!r}: {field} must be in the years 1 to 9999, got day {value!r}.")
        parts = distinct_strings(f"column {self.name!r}: parts", self.parts)
        for part in parts:
            check_choice(self.name, "parts", part, PARTS)
        object.__setattr__(self, "parts", parts)
        if self.form is not None:
            object.__setattr__(self, "form", _checked_form(self.name, self.form))

    @property
    def width(self) -> int:
        """Features that this column becomes."""
        return 1 + 2 * len(self.parts) + (self.missing == "indicator")

    @property
    def features(self) -> tuple[Feature, ...]:
        """`(width,)` those features: the elapsed time, the parts, the indicator."""
        flags = (Feature(column=self.name, kind="flag"),) * (self.width - 1)
        return (Feature(column=self.name, kind="number"), *flags)


Column = NumericColumn | CategoricalColumn | DateColumn


def _checked_form(name: str, form: object) -> str:
    try:
        return check_form(form)
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from None


def _check_statistics(column: NumericColumn | DateColumn) -> None:
    """Checks the fields that numbers and dates share, and keeps them as floats."""
    check_name(column.name)
    for field in ("mean", "std", "minimum", "maximum", "origin", "center", "scale"):
        value = getattr(column, field)
        if value is not None or field not in ("center", "scale"):
            object.__setattr__(column, field, finite(f"column {column.name!r}: {field}", value))
    for field in ("std", "scale"):
        value = getattr(column, field)
        if value is not None and value <= 0:
            raise DataError(f"column {column.name!r}: {field} must be above 0, got {shown(value)}.")
    check_choice(column.name, "missing", column.missing, ("refuse", "mean", "indicator"))
