"""A feature column as data: name, statistics of the training part, and features of the encoded column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from models.columns.date_forms import check_form
from models.columns.dates import FIRST_DAY, LAST_DAY, PARTS, Part
from models.columns.fields import check_choice, check_column_name, distinct_strings, finite, shown
from models.columns.gaps import CategoryGaps
from models.errors import DataError

# Numbers from this one on round to infinity in float32. The limit is a little above the largest float32, because that
# number's shortest decimal form, 3.4028235e38, is above it too and has to pass.
FLOAT32_LIMIT = 2.0**128 - 2.0**103
# A category's number is sent as a float32, which is exact for whole numbers up to this one.
MAX_INDEX = 2**24

Missing = Literal["refuse", "mean", "indicator"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Feature:
    """One number of an encoded row.

    Attributes:
        column: name of the feature's column.
        kind: `number` is standardised before the network; `flag`, within -1 to 1, stays as it is; `index` is a whole
            number from 0 to `categories` for a look-up, where 0 stands for missing or unknown.
        categories: number of categories of an index; 0 for the other kinds.
    """

    column: str
    kind: Literal["number", "flag", "index"]
    categories: int = 0


class _Standardised:
    """The common part of columns of numbers and of dates: the standardisation of an encoded number."""

    __slots__ = ()
    mean: float
    std: float
    origin: float
    center: float | None
    scale: float | None

    @property
    def fill(self) -> float:
        """Replacement of a missing value: the centre."""
        return self.mean if self.center is None else self.center

    @property
    def shift(self) -> float:
        """Number to subtract from the encoded number; the encoder has already subtracted `origin`."""
        return self.fill - self.origin

    @property
    def divisor(self) -> float:
        """Divisor of the encoded number after `shift`."""
        return self.std if self.scale is None else self.scale


@dataclass(frozen=True, kw_only=True, slots=True)
class NumericColumn(_Standardised):
    """A column of numbers, one feature wide, or two with an indicator.

    Attributes:
        name: name of the column in the training table.
        mean, std: mean and standard deviation of the training part. `std` is above 0.
        minimum, maximum: range of the training part; None in both if the range is unknown, as of an imported model.
        missing: treatment of a missing value: `refuse` (an error), `mean` (the value of `fill`, so that the network
            sees 0) or `indicator` (also `fill`, and a second feature is 1 if the value is missing, else 0).
        origin: number to subtract in float64 before the value is rounded to float32. It is 0 except for columns with a
            mean much larger than the spread (a timestamp), where rounding first would lose the spread.
        center, scale: numbers for the network's input `(x - center) / scale`; None for `mean` and `std`. `scale` is
            above 0.
        gaps: numbers that stand for a missing value.
    """

    kind: ClassVar[Literal["numeric"]] = "numeric"
    name: str
    mean: float
    std: float
    minimum: float | None
    maximum: float | None
    missing: Missing = "refuse"
    origin: float = 0.0
    center: float | None = None
    scale: float | None = None
    gaps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_statistics(self)
        # A missing value becomes fill - origin, which has to fit into float32 like any other cell.
        if not abs(self.fill - self.origin) < FLOAT32_LIMIT:
            field = "mean" if self.center is None else "center"
            raise DataError(f"column {self.name!r}: {field} - origin is too large for 32-bit floating point.")

    @property
    def width(self) -> int:
        """Number of features of the encoded column."""
        return 2 if self.missing == "indicator" else 1

    @property
    def features(self) -> tuple[Feature, ...]:
        """Features of the encoded column, `(width,)`."""
        flags = (Feature(column=self.name, kind="flag"),) * (self.width - 1)
        return (Feature(column=self.name, kind="number"), *flags)


@dataclass(frozen=True, kw_only=True, slots=True)
class CategoricalColumn:
    """A column of names.

    Attributes:
        name: name of the column in the training table.
        categories: categories of the training part, in the order of their features.
        unknown: treatment of any other category: `refuse` (an error) or `ignore` (all features 0, a case that training
            practises by dropping categories at random).
        missing: treatment of a missing value, `refuse` or `ignore`, with the same meanings.
        encoding: `one_hot` (one feature per category, 1 for the cell's category), `sign` (one feature: -1 for the first
            of two categories, 1 for the second) or `index` (one feature: i + 1 for category i, for a look-up).
        fill: category for which a missing value stands; None if `missing` says what happens.
        gaps: texts that stand for a missing value.
    """

    kind: ClassVar[Literal["categorical"]] = "categorical"
    name: str
    categories: tuple[str, ...]
    unknown: Literal["refuse", "ignore"] = "refuse"
    missing: Literal["refuse", "ignore"] = "refuse"
    encoding: Literal["one_hot", "sign", "index"] = "one_hot"
    fill: str | None = None
    gaps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_column_name(self.name)
        categories = distinct_strings(f"column {self.name!r}: categories", self.categories)
        object.__setattr__(self, "categories", categories)
        if not categories:
            raise DataError(f"column {self.name!r}: categories must be one or more.")
        check_choice(self.name, "unknown", self.unknown, ("refuse", "ignore"))
        check_choice(self.name, "missing", self.missing, ("refuse", "ignore"))
        check_choice(self.name, "encoding", self.encoding, ("one_hot", "sign", "index"))
        if self.fill is not None and self.fill not in categories:
            raise DataError(f"column {self.name!r}: fill must be one of the categories, got {shown(self.fill)}.")
        gaps = distinct_strings(f"column {self.name!r}: gaps", self.gaps)
        object.__setattr__(self, "gaps", gaps)
        known = CategoryGaps(gaps)
        if known and any(category in known for category in categories):
            raise DataError(f"column {self.name!r}: gaps must not be categories.")
        if self.encoding == "sign" and len(categories) != 2:
            raise DataError(f"column {self.name!r}: encoding sign is for two categories, got {len(categories)}.")
        if len(categories) > MAX_INDEX:
            raise DataError(f"column {self.name!r}: categories must be at most {MAX_INDEX:,}, got {len(categories):,}.")

    @property
    def width(self) -> int:
        """Number of features of the encoded column."""
        return len(self.categories) if self.encoding == "one_hot" else 1

    @property
    def features(self) -> tuple[Feature, ...]:
        """Features of the encoded column, `(width,)`."""
        if self.encoding == "index":
            return (Feature(column=self.name, kind="index", categories=len(self.categories)),)
        return (Feature(column=self.name, kind="flag"),) * self.width


@dataclass(frozen=True, kw_only=True, slots=True)
class DateColumn(_Standardised):
    """A column of dates or moments: the elapsed time as a number, and parts of the calendar as points on a circle.

    Attributes:
        name: name of the column in the training table.
        mean, std, minimum, maximum: statistics of the training part, in days since 1970-01-01T00:00Z. `std` is above 0.
        parts: parts of the calendar after the elapsed time (`month`, `day` of the month, `weekday`, `hour`; in UTC).
            Each has two features: the sine and the cosine of the part's angle within its period.
        missing: treatment of a missing date, as in a numeric column. A missing date has the elapsed time `fill`, and 0
            in both features of each part, the centre of the circle.
        origin, center, scale: numbers in days, with the meanings of a numeric column.
        form: form of the training table's dates (`models.columns.date_forms`), which a request may use besides ISO
            8601; None for ISO 8601 only.
        gaps: dates that stand for a missing value, in days.
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
    gaps: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check_statistics(self)
        # With these bounds, date - origin is far below the limit of float32 for each date that a request can have.
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
        """Number of features of the encoded column."""
        return 1 + 2 * len(self.parts) + (self.missing == "indicator")

    @property
    def features(self) -> tuple[Feature, ...]:
        """Features of the encoded column, `(width,)`: the elapsed time, the parts, the indicator."""
        flags = (Feature(column=self.name, kind="flag"),) * (self.width - 1)
        return (Feature(column=self.name, kind="number"), *flags)


Column = NumericColumn | CategoricalColumn | DateColumn


def _checked_form(name: str, form: object) -> str:
    try:
        return check_form(form)
    except DataError as error:
        raise DataError(f"column {name!r}: {error}") from None


def _check_statistics(column: NumericColumn | DateColumn) -> None:
    """Checks the common fields of numbers and dates, and converts the values to floats."""
    check_column_name(column.name)
    optional = {"center", "scale"}
    if isinstance(column, NumericColumn) and column.minimum is None and column.maximum is None:
        optional |= {"minimum", "maximum"}
    for field in ("mean", "std", "minimum", "maximum", "origin", "center", "scale"):
        value = getattr(column, field)
        if value is not None or field not in optional:
            object.__setattr__(column, field, finite(f"column {column.name!r}: {field}", value))
    for field in ("std", "scale"):
        value = getattr(column, field)
        if value is not None and value <= 0:
            raise DataError(f"column {column.name!r}: {field} must be above 0, got {shown(value)}.")
    check_choice(column.name, "missing", column.missing, ("refuse", "mean", "indicator"))
    if not isinstance(column.gaps, list | tuple):
        raise DataError(f"column {column.name!r}: gaps must be numbers, got {shown(column.gaps)}.")
    object.__setattr__(column, "gaps", tuple(finite(f"column {column.name!r}: gaps", gap) for gap in column.gaps))
