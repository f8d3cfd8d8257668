"""Requests of one format with the answers of another, and formats of answers alone."""

from __future__ import annotations

from models.columns.encoding import RowEncoder
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.http.wire.json_format import written_problem
from service.http.wire.wire_format import (
    AnswerWriter,
    Body,
    Head,
    ReadRequest,
    Undetermined,
    WireFormat,
    WrittenError,
)
from service.large_reading import RowReader


class AnsweredIn(WireFormat):
    """The requests of a format, answered in another one.

    Args:
        requests: format of the requests.
        answers: format of the answers and errors.
    """

    def __init__(self, requests: WireFormat, answers: WireFormat) -> None:
        self._requests = requests
        self.answers = self._answers = answers
        self.content_type = answers.content_type
        self.in_steps_from = requests.in_steps_from
        self.needs_model = requests.needs_model

    def model_in_head(self, head: Head) -> str | None:
        """Returns the reference of the model in the head, or None."""
        return self._requests.model_in_head(head)

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a body at once."""
        return self._requests.read(body, named, head)

    def find_model(self, body: Body, named: str | None) -> str | Undetermined | None:
        """Returns the model reference of a large body, or `UNDETERMINED`."""
        return self._requests.find_model(body, named)

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> RowReader:
        """Returns a reader of a large body."""
        return self._requests.reader(body, reference, encoder, head)

    def check_form(self, served: ServedVersion, form: AnswerForm | None) -> None:
        """Checks that a model version has what an answer of this form holds."""
        self._answers.check_form(served, form)

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return self._answers.writer(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes an error in the format of the answers."""
        return self._answers.write_error(error, request_id)


class AnswersAlone(WireFormat):
    """Answers for the requests of other formats. Errors are problem documents.

    Attributes:
        writer_class: class of the answer writers.
    """

    writer_class: type[AnswerWriter]

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Raises `NotImplementedError`: other formats read the requests."""
        raise NotImplementedError

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""
        return self.writer_class(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes a problem document."""
        return written_problem(error, request_id)
