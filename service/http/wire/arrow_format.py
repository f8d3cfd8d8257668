"""Arrow in: a stream whose columns have names and types, for the model that the query names."""

from __future__ import annotations

from models.columns.encoding import RowEncoder
from service.batching.served_version import ServedVersion
from service.http.wire.arrow_request import ArrowRequest, KeptSchemas
from service.http.wire.model_query import table_form_in_query, table_model_in_query
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, WireFormat, WrittenError


class ArrowFormat(WireFormat):
    """Arrow requests with the answers of another format.

    Args:
        answers: format of the answers.
    """

    in_steps_from = 0  # so `read` is never called
    needs_model = True

    def __init__(self, answers: WireFormat) -> None:
        self.answers = self._answers = answers
        self.content_type = answers.content_type
        self._kept: KeptSchemas = {}

    def model_in_head(self, head: Head) -> str | None:
        """Returns the model reference in the query, or None.

        Raises:
            InvalidRequest: the query has a parameter other than `model`, `members` and `intervals`, or one twice.
        """
        return table_model_in_query(head.query) if head.query else None

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Raises `NotImplementedError`, since every Arrow body is read in steps."""
        raise NotImplementedError

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> ArrowRequest:
        """Returns a reader of a body for the columns of the model."""
        assert encoder is not None  # noqa: S101 -- `needs_model`
        request = ArrowRequest(body, reference, encoder, limit=head.max_body_bytes, kept=self._kept)
        request.form = table_form_in_query(head.query)
        return request

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return self._answers.writer(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes an error in the format of the answers."""
        return self._answers.write_error(error, request_id)
