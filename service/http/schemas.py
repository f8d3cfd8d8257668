"""The REST API's bodies as Pydantic models: what `/docs` shows and what is accepted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from models.columns.labels import Label

Cell = float | int | str | bool | None
Row = Annotated[
    list[Cell] | dict[str, Cell],
    Field(description="A row: values in the order of the model's columns, or an object by column name."),
]


class PredictRequest(BaseModel):
    """Rows for one model."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None,
        description="`name`, `name@version` or `name@alias`; may be left out where there is one model or a default.",
        examples=["iris"],
    )
    instances: Annotated[list[Row], Field(min_length=1, description="One or more rows.")]


class PredictResponse(BaseModel):
    """Answers, row for row in the order of the request."""

    model: str = Field(description="Name of the model that answered.", examples=["iris"])
    version: int = Field(description="Its version.", examples=[1])
    predictions: list[Label] = Field(
        description="A classifier's most probable label, as in the training data and of its type there; a regressor's "
        "value in the target's unit.",
        examples=[["setosa"]],
    )
    probabilities: list[list[float]] | None = Field(
        None, description="Classifiers: a row's probability of each class, in the order of the model's `classes`."
    )


class RowFault(BaseModel):
    """What is wrong with a cell or a row."""

    row: int = Field(description="From 0, within the request.")
    column: str | None = Field(description="Null where the whole row is at fault.")
    message: str


class BodyFault(BaseModel):
    """What is wrong with a body or a parameter."""

    location: str = Field(description="Names and positions, joined by dots; empty for the whole.")
    message: str


class ProblemDocument(BaseModel):
    """An error, as RFC 9457 has it (`application/problem+json`)."""

    type: str = Field(description="A stable name of the kind of error.", examples=["urn:axon:problem:invalid-rows"])
    title: str
    status: int
    detail: str
    errors: list[RowFault | BodyFault] | None = Field(None, description="The faults one by one, where they are told.")
    request_id: str | None = Field(
        None, description="As in the header `X-Request-ID`, and in the log; none where the request could not be read."
    )


class ModelEntry(BaseModel):
    """One model in the list: the version that its bare name means, and what else there is."""

    name: str
    version: int
    versions: list[int]
    aliases: dict[str, int]
    task: str = Field(description="`classification` or `regression`.")
    columns: int = Field(description="How many columns a row has; their names are in `GET /models/{id}`.")
    total_params: int


class ModelList(BaseModel):
    """The models that are served, and what in the store cannot be."""

    models: list[ModelEntry]
    problems: dict[str, str] = Field(description="By id: why it is not served.")


class ModelDetail(BaseModel):
    """One model version."""

    name: str
    version: int
    versions: list[int]
    aliases: dict[str, int]
    task: str
    classes: list[Label] | None = Field(description="Classifiers: labels in the order of the probabilities.")
    columns: list[dict[str, Any]] = Field(description="The columns that a row has, in order, with their statistics.")
    target: dict[str, Any]
    architecture: dict[str, Any]
    total_params: int
    trainable_params: int
    training: dict[str, Any]
    metrics: dict[str, Any]
    data: dict[str, Any]
    batch_invariant: bool = Field(
        description="Whether a row's answer was found, when the version was loaded, to be the same to the last bit "
        "whoever else is in its batch."
    )
    digest: str = Field(description="SHA-256 over header and tensors.")
    example: PredictRequest = Field(description="A request that this model answers.")


class LayerSummary(BaseModel):
    """One layer; -1 in a shape stands for any number of rows."""

    name: str
    type: str
    input_shape: list[int]
    output_shape: list[int]
    params: int
    trainable_params: int
    multiply_adds: int


class SummaryResponse(BaseModel):
    """Layers, shapes and parameter counts."""

    model_config = ConfigDict(extra="allow")

    model: str
    version: int
    layers: list[LayerSummary]
    total_params: int
    trainable_params: int
    non_trainable_params: int
    multiply_adds: int


class Health(BaseModel):
    """A probe's answer."""

    status: str
    reason: str | None = Field(default=None, description="Why not, where it is not.")
