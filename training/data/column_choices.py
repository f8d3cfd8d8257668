"""The user's decisions about columns, where the table alone does not decide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from models.columns.cell_text import tidy
from models.columns.date_forms import check_form
from models.errors import DataError

_KINDS = ("categorical", "numeric", "date")
_LISTS = (*_KINDS, "drop")
_ROLES = ("weight", "group", "time")


@dataclass(frozen=True, kw_only=True)
class ColumnChoices:
    """The user's decisions about columns.

    A column that has a role (`weight`, `group`, `time`) is not a feature: its value is not known for a row that is to
    be predicted, or it tells where the row comes from, which a model should not learn.

    Attributes:
        categorical: columns to read as categories, although they look like numbers (a postcode) or dates.
        numeric: columns to read as numbers, although most cells are not.
        date: columns to read as dates, although most cells are not.
        date_formats: form of the dates by column (`models.columns.date_forms`), such as `%d/%m/%Y` or
            `epoch-seconds`, where the cells alone do not tell.
        drop: columns to leave out.
        weight: column with the weight of each row: finite, not negative, not all 0.
        group: column whose equal values belong together: the rows of a group go to one part of a split.
        time: column of numbers or dates by which rows are split: training gets the oldest, the test part the newest.
        keep_time: True to use the `time` column as a feature too, for the season and the hour that are in a date.
        unknown: treatment in serving of a category that training did not see: `ignore` reads it as unknown and counts
            it, `refuse` refuses the row.
        keep_constant: True to keep features of one value, and features that equal another: a table of pixels keeps
            its black border this way.
        drop_missing_target: True to leave out rows without a target, False to refuse them.
        examples: example rows that the model and its report show: `typical` ones, which are made up, or `rows` of the
            table.
        background: rows that explanations compare with: the `typical` row, which is made up, or `rows` of the training
            part, up to 100, which the checkpoint then carries.
        drop_rare_classes: True to leave out rows of classes that are too small to be split, False to refuse them.
        equal_rows: treatment of rows of equal features in a random split: `together` keeps them in one part, and
            leaves training rows out that equal a row of a test file; `scatter` does not look at them; `auto` keeps
            them together unless they are likely to be equal by chance, and leaves none out.

    Raises:
        DataError: a choice is not valid, or choices contradict each other.
    """

    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    keep_time: bool = False
    unknown: Literal["refuse", "ignore"] = "ignore"
    keep_constant: bool = False
    drop_missing_target: bool = False
    examples: Literal["typical", "rows"] = "typical"
    background: Literal["typical", "rows"] = "typical"
    date_formats: Mapping[str, str] = field(default_factory=dict)
    drop_rare_classes: bool = False
    equal_rows: Literal["auto", "together", "scatter"] = "auto"

    def __post_init__(self) -> None:
        for name in _LISTS:
            names = getattr(self, name)
            if isinstance(names, str) or not all(isinstance(column, str) for column in names):
                raise DataError(f"{name} must be a sequence of column names, got {names!r}.")
            object.__setattr__(self, name, tuple(tidy(column) for column in names))
        if not isinstance(self.date_formats, Mapping):
            raise DataError(f"date_formats must have a form by column name, got {self.date_formats!r}.")
        formats = {tidy(str(column)): check_form(form) for column, form in self.date_formats.items()}
        object.__setattr__(self, "date_formats", formats)
        if self.unknown not in ("refuse", "ignore"):
            raise DataError(f"unknown must be refuse or ignore, got {self.unknown!r}.")
        for name in ("examples", "background"):
            if getattr(self, name) not in ("typical", "rows"):
                raise DataError(f"{name} must be typical or rows, got {getattr(self, name)!r}.")
        if self.equal_rows not in ("auto", "together", "scatter"):
            raise DataError(f"equal_rows must be auto, together or scatter, got {self.equal_rows!r}.")
        self._check_kinds()
        self._check_roles()

    @property
    def roles(self) -> dict[str, str]:
        """The roles that are given, as columns by role."""
        return {role: name for role in _ROLES if (name := getattr(self, role)) is not None}

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that a choice names."""
        return (*self.drop, *self.categorical, *self.numeric, *self.date, *self.date_formats, *self.roles.values())

    def says_kind(self, name: str) -> bool:
        """Returns True if the choices say the kind of a column."""
        return any(name in of_kind for of_kind in (self.categorical, self.numeric, self.date, self.date_formats))

    def role_of(self, name: str) -> str | None:
        """Returns the role of a column that is not a feature; None for a feature or a column without a role."""
        if self.is_feature(name):
            return None
        return next((role for role, of in self.roles.items() if of == name), None)

    def is_feature(self, name: str) -> bool:
        """Returns True if the choices leave a column as a feature."""
        if name == self.time and self.keep_time and name not in (self.weight, self.group):
            return name not in self.drop
        return name not in self.drop and name not in self.roles.values()

    def _check_kinds(self) -> None:
        for i, one in enumerate(_KINDS):
            for other in _KINDS[i + 1 :]:
                if both := sorted(set(getattr(self, one)) & set(getattr(self, other))):
                    raise DataError(f"column {both[0]!r} cannot be both {one} and {other}.")

        for kind in ("categorical", "numeric"):
            if both := sorted(set(getattr(self, kind)) & set(self.date_formats)):
                raise DataError(f"column {both[0]!r} cannot be {kind} and have a date format.")

    def _check_roles(self) -> None:
        for role in _ROLES:
            name = getattr(self, role)
            if name is not None and not isinstance(name, str):
                raise DataError(f"{role} must be a column's name, got {name!r}.")
            if name is not None:
                object.__setattr__(self, role, tidy(name))
        for role, name in self.roles.items():
            if name in self.drop:
                raise DataError(f"column {name!r} is the {role} and cannot be dropped; it is no feature anyhow.")
        if self.group is not None and self.time is not None:
            raise DataError("a split is either by group or by time: choose one of the two.")
        if len(set(self.roles.values())) < len(self.roles):
            raise DataError(f"column {self.weight!r} cannot have two roles.")
        if self.keep_time and self.time is None:
            raise DataError("keep_time needs a time column.")
