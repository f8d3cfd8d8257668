"""The routes of predictions, each with a path and wire formats. The HTTP protocol answers them without ASGI."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from service.http.body_headers import is_csv
from service.http.wire.csv_format import CsvFormat
from service.http.wire.json_format import JsonFormat
from service.http.wire.wire_format import WireFormat

PREDICT_PATH = "/predict"


@dataclass(frozen=True)
class PredictRoute:
    """A route of predictions.

    Attributes:
        path: path of the route; `{name}` matches a segment or a part of one, and becomes a parameter of the head.
        default: format of requests without a `Content-Type`.
        choose: function that takes a `Content-Type` and returns the format, or raises `UnsupportedBody`.
    """

    path: str
    default: WireFormat
    choose: Callable[[bytes], WireFormat]


def predict_routes() -> list[PredictRoute]:
    """Returns all routes of predictions of an API process."""
    json = JsonFormat()
    csv = CsvFormat(answers=json)
    return [PredictRoute(PREDICT_PATH, json, lambda content_type: csv if is_csv(content_type) else json)]
