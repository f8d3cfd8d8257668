"""The bodies of `GET /studies` and `GET /studies/{id}` as Pydantic models."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

Cell = str | int | float | bool | None


class StudyEntry(BaseModel):
    """A study that was run: a claim about networks, and what this run says of the claim."""

    name: str
    about: str = Field(description="The question of the study.")
    claim: str
    holds: bool = Field(description="True if this run supports the claim.")
    verdict: str = Field(description="The observation of this run, with figures.")
    seed: int
    quick: bool = Field(description="True for a run with less of everything.")
    ran: str = Field(description="Time of the run, ISO 8601 in UTC.")
    plot: Literal["svg", "png"] = Field(description="Format of the plot, which is at `/studies/{id}/plot`.")


class StudyList(BaseModel):
    """The studies whose results are beside the models."""

    studies: list[StudyEntry]
    problems: dict[str, str] = Field(description="By name: the reason why a result cannot be read.")


class StudyTable(BaseModel):
    """A table of results."""

    title: str
    rows: list[dict[str, Cell]] = Field(description="Rows, each an object by column.")


class StudyDiagram(BaseModel):
    """A diagram."""

    title: str
    mermaid: str = Field(description="Mermaid flowchart.")


class StudyDetail(StudyEntry):
    """A study that was run, with all that the run gave but the plot."""

    explanation: str = Field(description="The reason for the result, in a few sentences.")
    tables: list[StudyTable]
    diagrams: list[StudyDiagram]
