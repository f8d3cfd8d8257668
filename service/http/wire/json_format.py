"""Axon's own JSON: `{"model": "iris", "instances": [[5.1, 3.5, 1.4, 0.2]]}`, and problem documents for errors."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from models.columns.cells import listed
from models.columns.encoding import RowEncoder, Rows
from models.columns.schema import MAX_COLUMNS
from models.errors import Fault, RowError
from service.answer_form import AnswerForm, form_with
from service.batching.served_version import ServedVersion
from service.errors import InvalidRequest
from service.http.problems import MEDIA_TYPE, problem_of
from service.http.wire.bulk_json import NumberReader, model_first
from service.http.wire.json_answers import JsonWriter
from service.http.wire.json_request import check_document, check_shape
from service.http.wire.json_slices import RequestShape, RowTooWide, SlicedRequest, model_last, names_no_model
from service.http.wire.model_query import refuse_options_in_query
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, Undetermined, WireFormat, WrittenError

_PROBLEM = MEDIA_TYPE.encode()
_MANY_NUMBERS_BYTES = 2048  # from this size on, a matrix of numbers is read in less time than lists of them
_LARGE_BODY_BYTES = 8192  # a smaller body is read in a fraction of a millisecond


class JsonFormat(WireFormat):
    """Axon's own JSON."""

    content_type = b"application/json"
    gives_intervals = True
    in_steps_from = _LARGE_BODY_BYTES

    def __init__(self) -> None:
        self._numbers = NumberReader()

    def model_in_head(self, head: Head) -> str | None:
        """Returns None: the body names the model.

        Raises:
            InvalidRequest: the query names a model or members, too.
        """
        if head.query:
            refuse_options_in_query(head.query)
        return None

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a small body; an unusual document is validated by the Pydantic model."""
        if len(body) >= _MANY_NUMBERS_BYTES and (request := self._numbers.read_request(body)) is not None:
            return *request, False, None
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise InvalidRequest(f"The body is not JSON: {error}.") from error
        may_hold_booleans = b"true" in body or b"false" in body
        if type(document) is dict:
            rows, model = document.get("instances"), document.get("model")
            known = ("instances" in document) + ("model" in document)
            if known == len(document) and type(rows) is list and rows and (model is None or type(model) is str):
                return model, rows, may_hold_booleans, None
        model, rows, form = check_document(document)
        return model, rows, may_hold_booleans, form

    def find_model(self, body: Body, named: str | None) -> str | Undetermined | None:
        """Returns the model reference at the beginning or at the end of a body."""
        reference = model_first(body) or model_last(body)
        return Undetermined.UNDETERMINED if reference is None and not names_no_model(body) else reference

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> JsonReader:
        """Returns a reader of a large body."""
        return JsonReader(body, encoder, self._numbers)

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return JsonWriter(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes a problem document."""
        return written_problem(error, request_id)


class JsonReader:
    """A reader of a large JSON body.

    Args:
        body: JSON text of the request.
        encoder: encoder of the model's rows; None if the model is not known before the body was read.
        numbers: reader of plain numbers.

    """

    def __init__(self, body: Body, encoder: RowEncoder | None, numbers: NumberReader) -> None:
        most_cells = MAX_COLUMNS if encoder is None else len(encoder.schema.columns)
        takes_numbers = encoder is not None and encoder.takes_numbers
        self._encoder = encoder
        self._request = SlicedRequest(body, most_cells=most_cells, numbers=numbers if takes_numbers else None)

    @property
    def model(self) -> str | None:
        """Reference of the model; None for the default model, and before the reference was read."""
        return self._request.model

    @property
    def at(self) -> int:
        """Number of bytes read so far."""
        return self._request.at

    @property
    def form(self) -> AnswerForm | None:
        """Form of the answer, once the request was read."""
        return form_with(self._request.members, self._request.level)

    def slices(self) -> Iterator[Rows | None]:
        """Yields rows in their order, and None after a step that read none.

        Raises:
            InvalidRequest: the body is not a prediction request.
            RowError: a row has more cells than the model has columns.
        """
        try:
            yield from self._request.slices()
        except RequestShape as shape:
            check_shape(shape.document)
            raise AssertionError(f"{shape.document!r} is a request") from None
        except RowTooWide as wide:
            raise RowError([self._too_wide(wide)]) from None

    def _too_wide(self, wide: RowTooWide) -> Fault:
        """Returns the fault of a row with too many cells."""
        if self._encoder is None:
            return Fault(wide.row, None, f"more than {wide.cells:,} values")
        names = self._encoder.schema.names
        return Fault(
            wide.row, None, f"more than {wide.cells} values where the model takes {len(names)}: {listed(names)}"
        )


def written_problem(error: Exception, request_id: str) -> WrittenError:
    """Writes an error as a problem document."""
    problem = problem_of(error)
    return WrittenError(
        int(problem.status), problem.code, problem.detail, _PROBLEM, problem.body(request_id), problem.raw_headers()
    )
