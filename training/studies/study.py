"""A study: a claim about networks, a run that checks it, and what the run came to as tables and a drawing.

A run is pure: numbers in, a frozen result out. Files, terminal and plots on disk are the command's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from models.errors import ConfigError

if TYPE_CHECKING:  # matplotlib takes half a second to import, and most commands draw nothing
    from matplotlib.figure import Figure

Cell: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyTable:
    """A table of results as data.

    Attributes:
        title: one line.
        columns: their headings.
        rows: a cell a column; None where there is nothing to say. Floats are finite.
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
        """As JSON types, a row an object by column."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows}


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyDiagram:
    """A diagram as text, to be pasted where Mermaid is drawn.

    Attributes:
        title: heading on one line.
        mermaid: Mermaid flowchart, without a newline at the end.
    """

    title: str
    mermaid: str


class StudyResult(ABC):
    """What a run came to; each study has a frozen dataclass of its own.

    Attributes:
        claim: what the study says of networks, as a sentence.
    """

    claim: ClassVar[str]

    @property
    @abstractmethod
    def holds(self) -> bool:
        """Whether this run bears the claim out."""

    @property
    @abstractmethod
    def verdict(self) -> str:
        """What was seen, in a sentence with its figures."""

    @abstractmethod
    def tables(self) -> tuple[StudyTable, ...]:
        """The figures, at least one table."""

    def diagrams(self) -> tuple[StudyDiagram, ...]:
        """Returns the result's diagrams as Mermaid text; most studies have none."""
        return ()

    @abstractmethod
    def draw(self, figure: Figure) -> None:
        """Draws the plot on an empty figure."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "claim": self.claim,
            "holds": self.holds,
            "verdict": self.verdict,
            "tables": [table.to_dict() for table in self.tables()],
            "diagrams": [asdict(diagram) for diagram in self.diagrams()],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyOption:
    """An option of one study alone.

    Attributes:
        name: of the argument of `run`; `bits` is typed `--bits`.
        kind: a whole `number`, or `numbers` with commas between.
        about: a line of help, with the default.
    """

    name: str
    kind: Literal["number", "numbers"]
    about: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study that can be run.

    Attributes:
        name: as it is typed.
        about: the question, on one line.
        claim: what it says of networks, a sentence.
        run: `run(seed=…, quick=…)` and the study's own options; `quick` asks for less of everything.
        options: those of its own.
    """

    name: str
    about: str
    claim: str
    run: Callable[..., StudyResult]
    options: tuple[StudyOption, ...] = ()


def check_number(name: str, value: object, *, least: int, most: int) -> int:
    """A whole number within bounds.

    Raises:
        ConfigError: it is none, or out of bounds; named.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}, got {value!r}.")
    return value


def check_numbers(name: str, values: tuple[int, ...], *, least: int, most: int) -> tuple[int, ...]:
    """Two or more different whole numbers within bounds, sorted.

    Raises:
        ConfigError: fewer, or one of them is out of bounds; named.
    """
    chosen = tuple(sorted({check_number(name, value, least=least, most=most) for value in values}))
    if len(chosen) < 2:
        raise ConfigError(f"{name} needs two different numbers or more to compare, got {values!r}.")
    return chosen
