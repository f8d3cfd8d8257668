"""The bodies of `GET /models/{id}/network` and `GET /models/{id}/training` as Pydantic models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.columns.labels import Label


class TensorOfLayer(BaseModel):
    """One tensor of a layer, with statistics of all its values."""

    name: str = Field(description="Name within the layer, such as `weight`.")
    shape: list[int] = Field(description="Shape; the members of an ensemble are the first dimension.")
    learned: bool = Field(description="False for running statistics, which training measures.")
    mean: float
    std: float = Field(description="Standard deviation, with divisor n.")
    minimum: float
    maximum: float
    zeros: int = Field(description="Number of values that are exactly 0.")
    edges: list[float] = Field(description="Bounds of the histogram's bins, of equal width.")
    counts: list[int] = Field(description="Number of values in each bin.")
    values: list[float] | None = Field(
        description="All values, the last dimension first to vary; null in a network with more than `most_values`."
    )


class LayerOfNetwork(BaseModel):
    """One layer with its tensors."""

    name: str = Field(description="Prefix of the tensors' names in the checkpoint.")
    kind: str = Field(
        description="`inputs` (a part of the input stage), `linear`, `batch_norm`, `layer_norm`, `activation` or "
        "`dropout`."
    )
    type: str = Field(description="Name for people, such as `ReLU`.")
    in_features: int
    out_features: int
    params: int = Field(description="Number of learned values, of all members of an ensemble together.")
    multiply_adds: int
    tensors: list[TensorOfLayer]


class NetworkResponse(BaseModel):
    """The network of a model version: layers, and the weights of a small network."""

    model_config = ConfigDict(extra="forbid")

    model: str
    version: int
    task: str
    output: str = Field(description="Function after the last layer: `softmax`, `linear` (none), `step`, …")
    members: int = Field(description="Number of networks in the ensemble.")
    member_weights: list[int] | None = Field(
        description="Weight of each network in the mean of their answers; null for equal weights."
    )
    temperature: float = Field(description="Divisor of the logits before a softmax.")
    total_params: int
    most_values: int = Field(description="Largest number of values of a network whose values are listed.")
    inputs: list[str] | None = Field(
        description="Names of the numbers that the first Linear reads: columns, or parts of them; null if there are "
        "many. Numbers are standardised."
    )
    outputs: list[Label] | None = Field(
        description="Classes in the order of the outputs, or the name of the target; null if there are many."
    )
    layers: list[LayerOfNetwork]


class DistributionInTraining(BaseModel):
    """The values of a column, or the predictions, counted in bins."""

    name: str
    kind: str = Field(
        description="`numeric`, `categorical` or `date`; of predictions `class`, `confidence` (the probability of the "
        "predicted class) or `value`."
    )
    edges: list[float] | list[str] | None = Field(
        description="Bounds between bins of numbers or dates; the first and the last bin are open."
    )
    minimum: float | str | None = Field(description="Smallest number or date; null if it is not known.")
    maximum: float | str | None = Field(description="Greatest number or date; null if it is not known.")
    categories: list[Label | None] | None = Field(description="Bins of categories; null stands for all others.")
    counts: list[int] = Field(description="Number of rows in each bin.")
    gaps: int = Field(description="Number of missing values.")


class TrainingResponse(BaseModel):
    """The data and the course of the training of a model version."""

    model_config = ConfigDict(extra="forbid")

    model: str
    version: int
    published: str = Field(description="Time of the checkpoint's file, ISO 8601 in UTC.")
    rows: int | None = Field(description="Rows of the training part; null if it is not known.")
    best_epoch: int | None = Field(description="Epoch, from 1, whose weights are served; null if it is not known.")
    history: dict[str, list[float]] = Field(description="By measure, such as `train_loss`: the value of each epoch.")
    metrics: dict[str, dict[str, float]] = Field(description="By part, `train`, `validation` and `test`: the metrics.")
    columns: list[DistributionInTraining] | None = Field(
        description="How the values of each column were distributed; null if the checkpoint does not say."
    )
    columns_left_out: int = Field(description="Columns beyond the first 1,000, which have no distribution.")
    predictions: list[DistributionInTraining] | None = Field(
        description="How the predictions were distributed; null if the checkpoint does not say."
    )
    card: str | None = Field(description="The model card, in Markdown; null if there is none beside the checkpoint.")
