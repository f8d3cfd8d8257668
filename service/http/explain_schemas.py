"""The bodies of `POST /models/{id}/explain` as Pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from models.columns.labels import Label
from models.explaining.background import MOST_BACKGROUND_ROWS
from models.explaining.shapley import DEFAULT_SAMPLES, LEAST_SAMPLES, MOST_SAMPLES
from service.http.schemas import Row


class ExplainRequest(BaseModel):
    """Rows to explain."""

    model_config = ConfigDict(extra="forbid")

    instances: Annotated[list[Row], Field(min_length=1, description="One or more rows.")]
    background: Annotated[list[Row], Field(min_length=1, max_length=MOST_BACKGROUND_ROWS)] | None = Field(
        None, description="Rows to compare with; else those that the model carries."
    )
    output: Label | None = Field(
        None,
        description="Label whose probability is explained; else the predicted label of each row. Of a model with "
        "several `targets`, the one whose value is explained; else the first.",
    )
    scale: Literal["probability", "logit"] | None = Field(
        None, description="Classifiers: `logit` explains the logarithm of the odds instead of the probability."
    )
    kind: Literal["exact", "sampled"] | None = Field(
        None,
        description="`exact` asks about all combinations of up to 12 columns that differ from the background, and "
        "`sampled` about some. Left out: exact wherever possible.",
    )
    samples: int = Field(
        DEFAULT_SAMPLES,
        ge=LEAST_SAMPLES,
        le=MOST_SAMPLES,
        strict=True,
        description="Number of orders of a sampled explanation.",
    )


class Reason(BaseModel):
    """The share of one column in the output."""

    column: str
    cell: Any = Field(description="The row's cell in this column.")
    contribution: float
    standard_error: float | None = Field(None, description="Sampled explanations: standard error of the contribution.")


class ExplanationOfRow(BaseModel):
    """The explanation of one row. The contributions add up to `value - base`."""

    kind: Literal["exact", "sampled"]
    prediction: Label | list[float]
    output: Label | None = Field(
        None,
        description="Classifiers: label whose probability is explained. Models with several targets: the target.",
    )
    value: float = Field(description="Output for the row.")
    base: float = Field(description="Mean output for the background.")
    reasons: list[Reason] = Field(description="All columns, the largest contribution first.")


class ExplainResponse(BaseModel):
    """Explanations in the order of the request's rows."""

    model: str
    version: int
    scale: Literal["probability", "logit", "value"] = Field(description="Unit of the contributions.")
    background: Literal["typical", "rows", "centre", "request"] = Field(
        description="What the rows are compared with: `typical`, medians and most common categories; `rows` of the "
        "training part; `centre`, the middle of the columns' statistics; or the rows of the `request`."
    )
    explanations: list[ExplanationOfRow]
