"""A study: a claim about networks, a run that checks the claim, and a result with tables and a plot.

A run is a pure function: numbers in, a frozen result out. The command writes the files and prints to the terminal.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from models.errors import ConfigError

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most commands do not draw
    from matplotlib.figure import Figure

Cell: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTable:
    """A table of results as data.

    Attributes:
        title: heading on one line.
        columns: headings of the columns.
        rows: rows with one cell per column, None for an empty cell. Floats are finite.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"{self.title}: two columns have the same heading: {self.columns!r}")
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{self.title}: a row has {len(row)} cells for {len(self.columns)} columns: {row!r}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the table as JSON types, each row an object by column."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDiagram:
    """A diagram as Mermaid text.

    Attributes:
        title: heading on one line.
        mermaid: Mermaid flowchart, without a newline at the end.
    """

    title: str
    mermaid: str


class StudyResult(ABC):
    """The result of a run; each study has a frozen dataclass of its own.

    Attributes:
        claim: claim of the study about networks, one sentence.
    """

    claim: ClassVar[str]

    @property
    @abstractmethod
    def holds(self) -> bool:
        """True if this run supports the claim."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """The observation, one sentence with figures."""

    @abstractmethod
    def tables(self) -> tuple[StudyTable, ...]:
        """Returns the figures as one table or more."""

    def diagrams(self) -> tuple[StudyDiagram, ...]:
        """Returns the diagrams of the result as Mermaid text; most studies have none."""
        return ()

    @abstractmethod
    def draw(self, figure: Figure) -> None:
        """Draws the plot on an empty figure."""

    def to_dict(self) -> dict[str, Any]:
        """Returns the result as JSON types."""
        return {
            "claim": self.claim,
            "holds": self.holds,
            "verdict": self.verdict,
            "tables": [table.to_dict() for table in self.tables()],
            "diagrams": [asdict(diagram) for diagram in self.diagrams()],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOption:
    """An option that only one study has.

    Attributes:
        name: name of the argument of `run`; `bits` becomes the option `--bits`.
        kind: `number`, a whole number, or `numbers`, whole numbers with commas between.
        about: line of help, with the default.
    """

    name: str
    kind: Literal["number", "numbers"]
    about: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study that can be run.

    Attributes:
        name: name on the command line.
        about: question of the study, on one line.
        claim: claim of the study about networks, one sentence.
        run: function with the arguments `seed`, `quick` and the study's own options; `quick` reduces the work.
        options: options that only this study has.
    """

    name: str
    about: str
    claim: str
    run: Callable[..., StudyResult]
    options: tuple[StudyOption, ...] = ()


def check_number(name: str, value: object, *, least: int, most: int) -> int:
    """Returns the value, a whole number within bounds.

    Raises:
        ConfigError: the value is not a whole number, or out of bounds; the message names it.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}, got {value!r}.")
    return value


def check_numbers(name: str, values: tuple[int, ...], *, least: int, most: int) -> tuple[int, ...]:
    """Returns two or more different whole numbers within bounds, sorted.

    Raises:
        ConfigError: there are fewer than two, or one is out of bounds; the message names it.
    """
    chosen = tuple(sorted({check_number(name, value, least=least, most=most) for value in values}))
    if len(chosen) < 2:
        raise ConfigError(f"{name} needs two different numbers or more to compare, got {values!r}.")
    return chosen
