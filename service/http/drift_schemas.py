"""The body of `GET /models/{id}/drift` as Pydantic models, for `/docs`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from models.columns.labels import Label

Verdict = Literal["drift", "no_drift", "too_few_rows", "unavailable"]


class DriftWindow(BaseModel):
    """Rows that were looked at in a while."""

    number: int = Field(description="Windows of a version are counted from 0, since the server's start.")
    began: str = Field(description="Time of the first row, ISO 8601 in UTC.")
    ended: str = Field(description="Time of the last row.")
    rows: int = Field(description="Number of rows that were looked at, in all API processes.")
    verdict: Verdict
    flagged: int = Field(description="Number of columns and predictions that moved beyond chance.")


class DriftShare(BaseModel):
    """A share of rows."""

    training: float = Field(description="Share in training, or to expect from it.")
    window: float = Field(description="Share in the window.")
    p_value: float = Field(description="Probability of so large a share without drift.")


class DriftOfVariable(BaseModel):
    """A column or a kind of prediction, with the distributions in training and in the window."""

    name: str
    kind: str = Field(
        description="`numeric`, `categorical` or `date`; of predictions `class`, `confidence` (the probability of the "
        "predicted class) or `value`."
    )
    flagged: bool = Field(description="True if it moved beyond chance.")
    reasons: list[str] = Field(description="What moved beyond chance: `values`, `gaps`, `out_of_range`, `unknown`.")
    psi: float = Field(description="Population stability index of the values.")
    noise: float = Field(description="Index to expect without drift, from the number of rows alone.")
    threshold: float | None = Field(
        description="Index from which the values are flagged; null if they cannot be: too few rows, or dates, which "
        "move on by themselves."
    )
    p_value: float | None = Field(description="Probability of such values without drift; null if it is not known.")
    rows_per_independent_row: float = Field(
        description="Rows that bring as much news as one independent row; above 1 if similar rows come together."
    )
    gaps: DriftShare | None = Field(description="Missing values; null if the column refuses them.")
    out_of_range: DriftShare | None = Field(description="Numbers outside the range of training.")
    unknown: DriftShare | None = Field(description="Categories that training did not see.")
    edges: list[float] | list[str] | None = Field(
        description="Bounds between bins of numbers or dates; the first and the last bin are open."
    )
    categories: list[Label | None] | None = Field(description="Bins of categories; null stands for all others.")
    training: list[float] = Field(description="Share of each bin in training.")
    window: list[float] = Field(description="Share of each bin in the window.")


class DriftResponse(BaseModel):
    """The drift of a model version: the verdict, and each column and prediction; those that moved most come first."""

    model: str
    version: int
    verdict: Verdict = Field(description="`unavailable` if the checkpoint has no distributions, or drift is off.")
    reason: str = Field(description="The verdict as a sentence.")
    flagged: list[str] = Field(
        description="Names of the columns and predictions that moved beyond chance; one of several targets has "
        "`(predicted)` behind its name."
    )
    window: Literal["current", "last"] | None = Field(
        description="Window that verdict, features and predictions describe; null without rows."
    )
    current: DriftWindow | None = Field(description="The window that still grows.")
    last: DriftWindow | None = Field(description="The last complete window.")
    false_alarms: float = Field(description="Probability that anything is flagged in a window without drift.")
    least_psi: float = Field(description="Least index above the noise that is flagged.")
    least_share: float = Field(description="Least change of a share that is flagged.")
    training_rows: int | None = Field(description="Rows of the training part.")
    columns_left_out: int | None = Field(description="Columns beyond the first 1,000, which are not compared.")
    features: list[DriftOfVariable]
    predictions: list[DriftOfVariable]
