"""The routes of predictions, each with a path and wire formats. The HTTP protocol answers them without ASGI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service.errors import UnsupportedBody
from service.http.body_headers import BodyKind, kind_of_body
from service.http.request_head import Fields
from service.http.wire.csv_format import CsvFormat
from service.http.wire.mlflow_format import MlflowFormat
from service.http.wire.open_inference_answers import HEADER_LENGTH
from service.http.wire.open_inference_format import BinaryInferFormat, JsonInferFormat
from service.http.wire.predict_formats import PredictFormats
from service.http.wire.tf_serving_format import tf_serving_formats
from service.http.wire.wire_format import WireFormat

PREDICT_PATH = "/predict"
INVOCATIONS_PATH = "/invocations"
INFER_PATHS = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
TF_SERVING_PATHS = tuple(f"/v1/models/{{model}}{end}" for end in ("", "/versions/{version}", "/labels/{label}"))
TF_SERVING_METHODS = ("predict", "classify", "regress")


@dataclass(frozen=True)
class PredictRoute:
    """A route of predictions.

    Attributes:
        path: path of the route; `{name}` matches a segment or a part of one, and becomes a parameter of the head.
        default: format of the errors of requests whose format is not known.
        choose: function that takes the headers and returns the format, or raises `UnsupportedBody` or `NotAcceptable`.
    """

    path: str
    default: WireFormat
    choose: Callable[[Fields], WireFormat]


def predict_routes() -> list[PredictRoute]:
    """Returns all routes of predictions of an API process."""
    formats = PredictFormats()
    json_infer, binary_infer = JsonInferFormat(), BinaryInferFormat()

    def choose_infer(fields: Fields) -> WireFormat:
        return binary_infer if HEADER_LENGTH in fields else json_infer

    return [
        PredictRoute(PREDICT_PATH, formats.json, formats.choose),
        *(PredictRoute(path, json_infer, choose_infer) for path in INFER_PATHS),
        *_tf_serving_routes(),
        _mlflow_route(),
    ]


def _tf_serving_routes() -> list[PredictRoute]:
    """Returns the routes of TensorFlow Serving's methods, whose clients often send no media type."""
    formats = tf_serving_formats()
    return [
        PredictRoute(f"{path}:{method}", formats[method], partial(_json_only, formats[method]))
        for path in TF_SERVING_PATHS
        for method in TF_SERVING_METHODS
    ]


def _json_only(json: WireFormat, fields: Fields) -> WireFormat:
    """Returns the format for JSON, the only one of a route.

    Raises:
        UnsupportedBody: the body has another media type.
    """
    if _kind_in(fields) is not None:
        raise UnsupportedBody(
            "The body has to be JSON (Content-Type: application/json).", {"Accept": "application/json"}
        )
    return json


def _mlflow_route() -> PredictRoute:
    """Returns the route of MLflow's scoring protocol."""
    json = MlflowFormat()
    csv = CsvFormat(answers=json)

    def choose(fields: Fields) -> WireFormat:
        kind = _kind_in(fields)
        if kind is BodyKind.ARROW:
            raise UnsupportedBody(
                "The body has to be JSON (Content-Type: application/json) or CSV (text/csv).",
                {"Accept": "application/json, text/csv"},
            )
        return json if kind is None else csv

    return PredictRoute(INVOCATIONS_PATH, json, choose)


def _kind_in(fields: Fields) -> BodyKind | None:
    """Returns the kind of the body by the headers of a request, None for JSON."""
    content_type = fields.get(b"content-type")
    return None if content_type is None else kind_of_body(content_type)
