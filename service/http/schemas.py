"""The bodies of the REST API as Pydantic models, for validation and for `/docs`."""

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
    members: int | None = Field(
        None, ge=1, strict=True, description="Number of members of an ensemble that answer, the first ones; else all."
    )
    intervals: float | None = Field(
        None,
        gt=0,
        lt=1,
        strict=True,
        description="Level such as 0.9: asks for an interval for each value, or a set of labels, that contains the "
        "truth in at least this share of rows like those of training.",
    )


class PredictResponse(BaseModel):
    """Answers in the order of the request's rows."""

    model: str = Field(description="Name of the model that answered.", examples=["iris"])
    version: int = Field(description="Version of this model.", examples=[1])
    predictions: list[Label] | list[list[float]] = Field(
        description="Classifiers: the most probable label of each row, with its type in the training data. Regressors: "
        "the value for each row, in the target's unit; of a model with several `targets`, a list of their values.",
        examples=[["setosa"], [[12.5, -0.25]]],
    )
    probabilities: list[list[float]] | None = Field(
        None,
        description="Classifiers: for each row, the probability of each class, in the order of the model's `classes`.",
    )
    intervals: list[list[float]] | list[list[list[float]]] | None = Field(
        None,
        description="Regressors, if asked for: the lower and the upper bound for each row; of a model with several "
        "`targets`, a list of both bounds of each.",
    )
    sets: list[list[Label]] | None = Field(
        None,
        description="Classifiers, if intervals are asked for: the labels that each row may have, in the order of the "
        "model's `classes`; the predicted label is one of them.",
    )


class RowFault(BaseModel):
    """A fault of a cell or a row."""

    row: int = Field(description="Number of the row in the request, from 0.")
    column: str | None = Field(description="Name of the column; null if the whole row is at fault.")
    message: str


class BodyFault(BaseModel):
    """A fault of a body or a parameter."""

    location: str = Field(description="Names and positions, joined by dots; empty for the whole body.")
    message: str


class ProblemDocument(BaseModel):
    """An error document by RFC 9457 (`application/problem+json`)."""

    type: str = Field(description="A stable name of the kind of error.", examples=["urn:axon:problem:invalid-rows"])
    title: str
    status: int
    detail: str
    errors: list[RowFault | BodyFault] | None = Field(None, description="The single faults, if known.")
    request_id: str | None = Field(
        None, description="As in the header `X-Request-ID` and in the log; missing if the request could not be read."
    )


class SplitAlias(BaseModel):
    """An alias that divides its requests among versions."""

    weights: dict[str, float] = Field(description="By version: the percentage of the requests.")


class ShadowRows(BaseModel):
    """The rows that were copied to a shadow, by outcome."""

    agree: int
    differ: int
    failed: int = Field(description="Rows that the shadow did not answer.")
    dropped: int = Field(description="Rows for which there was no idle room.")


class ShadowEntry(BaseModel):
    """The shadow of an alias: a version that gets copies of requests, and whose answers are never returned."""

    version: int
    share: float = Field(description="Percentage of the requests that are copied.")
    state: str = Field(description="`ready`, `slow`, `failing`, `stopped` or `not loaded`.")
    reason: str | None = Field(description="The reason, if the state is not `ready`.")
    rows: ShadowRows


_VERSION_OF_SPLIT = "The version to which the name alone refers; of a split, the one with the largest weight."


class ModelEntry(BaseModel):
    """One model in the list: the version to which the name alone refers, and all versions, aliases and shadows."""

    name: str
    version: int = Field(description=_VERSION_OF_SPLIT)
    versions: list[int]
    aliases: dict[str, int | SplitAlias]
    shadows: dict[str, ShadowEntry] = Field(description="Shadows by alias; `default` is the name alone.")
    in_memory: list[int] = Field(
        description="Versions that a worker holds in memory; the others are loaded when they are asked for."
    )
    task: str = Field(description="`classification` or `regression`.")
    targets: list[str] | None = Field(
        None, description="Regressors with several targets: their names, in the order of a row's values."
    )
    columns: int = Field(description="Number of columns in a row; their names are in `GET /models/{id}`.")
    total_params: int
    published: str = Field(description="Time of the checkpoint's file, ISO 8601 in UTC.")
    metrics: dict[str, float] = Field(description="Metrics of the test part, by name; empty if they are not known.")


class ModelList(BaseModel):
    """The served models, and the entries of the store that cannot be served."""

    models: list[ModelEntry]
    default: str | None = Field(
        description="Model that answers requests that name none: `AXON_DEFAULT_MODEL`, which may have a version or an "
        "alias, else the only model of the store; null if such requests are refused."
    )
    problems: dict[str, str] = Field(
        description="By id: what is wrong in the store, and why. The empty id is the store as a whole. A model that is "
        "named here may still be served."
    )


class IntervalSupport(BaseModel):
    """The calibration behind the intervals or sets of a model."""

    rows: int = Field(description="Number of calibration rows, from which training did not learn.")
    highest_level: float = Field(description="Highest level that so many rows support.")


class ModelDetail(BaseModel):
    """One model version."""

    name: str
    version: int
    versions: list[int]
    aliases: dict[str, int | SplitAlias]
    shadows: dict[str, ShadowEntry] = Field(description="Shadows by alias; `default` is the name alone.")
    task: str
    classes: list[Label] | None = Field(description="Classifiers: labels in the order of the probabilities.")
    targets: list[str] | None = Field(
        None, description="Regressors with several targets: their names, in the order of a row's values."
    )
    columns: list[dict[str, Any]] = Field(description="The columns of a row, in order, with their statistics.")
    target: dict[str, Any]
    architecture: dict[str, Any]
    total_params: int
    trainable_params: int
    training: dict[str, Any]
    metrics: dict[str, Any]
    data: dict[str, Any]
    intervals: IntervalSupport | None = Field(
        description="The calibration behind `intervals` in a request; null for a model without intervals."
    )
    batch_invariant: bool = Field(
        description="True if a test at loading found that a row's answer is the same to the last bit, whatever other "
        "rows are in its batch."
    )
    digest: str = Field(description="SHA-256 of header and tensors.")
    published: str = Field(description="Time of the checkpoint's file, ISO 8601 in UTC.")
    example: PredictRequest = Field(description="A request that this model answers.")


class LayerSummary(BaseModel):
    """One layer. A dimension of -1 is any number of rows."""

    name: str
    type: str
    input_shape: list[int]
    output_shape: list[int]
    params: int
    trainable_params: int
    multiply_adds: int


class SummaryResponse(BaseModel):
    """The layers, shapes and parameter counts of a model."""

    model_config = ConfigDict(extra="allow")

    model: str
    version: int
    layers: list[LayerSummary]
    total_params: int
    trainable_params: int
    non_trainable_params: int
    multiply_adds: int


class Health(BaseModel):
    """The answer to a probe."""

    status: str
    reason: str | None = Field(default=None, description="The reason, if the server is not ready.")
