"""The formats of `POST /predict`: JSON, CSV and Arrow for requests and for answers, in any combination."""

from __future__ import annotations

from service.http.accept import MediaTypes
from service.http.body_headers import BodyKind, json_types, kind_of_body
from service.http.request_head import Fields
from service.http.wire.answered_in import AnsweredIn
from service.http.wire.arrow_answers import ArrowAnswers
from service.http.wire.arrow_format import ArrowFormat
from service.http.wire.csv_answers import CsvAnswers
from service.http.wire.csv_format import CsvFormat
from service.http.wire.json_format import JsonFormat
from service.http.wire.wire_format import WireFormat

MEDIA_TYPES = ("application/json", "text/csv", "application/vnd.apache.arrow.stream")


class PredictFormats:
    """The formats of the route, chosen by the `Content-Type` and the `Accept` header of a request.

    Attributes:
        json: JSON in and out, for requests that say nothing else.
    """

    def __init__(self) -> None:
        self.json = json = JsonFormat()
        answers: tuple[WireFormat, ...] = (json, CsvAnswers(), ArrowAnswers())
        self._media_types = MediaTypes(MEDIA_TYPES)
        self._formats: dict[BodyKind | None, tuple[WireFormat, ...]] = {
            None: (json, *(AnsweredIn(json, other) for other in answers[1:])),
            BodyKind.CSV: tuple(map(CsvFormat, answers)),
            BodyKind.ARROW: tuple(map(ArrowFormat, answers)),
        }

    def choose(self, fields: Fields) -> WireFormat:
        """Returns the format of a request by its headers.

        Raises:
            UnsupportedBody: the body has a media type that the server does not read.
            NotAcceptable: the client accepts no media type that the server writes.
        """
        content_type, accept = fields.get(b"content-type"), fields.get(b"accept")
        kind = None if content_type is None or content_type in json_types else kind_of_body(content_type)
        formats = self._formats[kind]
        return formats[0 if accept is None else self._media_types.choose(accept)]
