"""The interface of a wire format, which defines the bytes of requests, answers and errors over HTTP.

A format is a few functions over bytes. Keys, deadlines, limits, loading, counting and logging are the same for all
formats: see `service.admission`. A new format is one file beside this one and a line in the table of routes.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.columns.encoding import RowEncoder, Rows
from service.answer_form import AnswerForm
from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.http.exchange import Content, Headers
from service.http.request_head import Fields
from service.large_reading import RowReader

Body = bytes | bytearray
# The reference of the model, None for the default model; the rows, whose cells are not checked yet; False if no cell is
# a boolean, True if some may be; and the form of the answer: what the answer writer needs to know of this request, None
# if all answers look alike.
ReadRequest = tuple[str | None, Rows, bool, AnswerForm | None]

STEP_NUMBERS = 16_384  # numbers written in one step, which takes about a millisecond
_ANSWER_NUMBERS = 256  # numbers that take as long to write as a small answer to send


class Undetermined(Enum):
    """A value in place of a model reference that cannot be found without reading the whole body."""

    UNDETERMINED = auto()


class Head(Protocol):
    """The head of a request.

    Attributes:
        fields: values of headers by name in lower case; those of a repeated header are joined by a line feed.
        query: query of the request's target, without the question mark.
        parameters: values of the parameters in the route's path, percent-decoded.
        max_body_bytes: largest number of bytes of a body, as sent and after decompression.
    """

    fields: Fields
    query: bytes
    parameters: Mapping[str, str]

    @property
    def max_body_bytes(self) -> int:
        """Largest number of bytes of a body."""


class AnswerHeaders:
    """The headers of answers that a writer decides.

    Args:
        content_type: media type of the body.
        headers: further headers, with names in lower case.

    Attributes:
        content_type: media type of the body.
        headers: further headers, with names in lower case.
        lines: the further headers as bytes of a head.
    """

    __slots__ = ("content_type", "headers", "lines")

    def __init__(self, content_type: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self.content_type = content_type
        self.headers = headers
        self.lines = b"".join([b"%b: %b\r\n" % header for header in headers])


class WrittenAnswer:
    """An answer with headers that depend on its content.

    Args:
        body: body of the answer.
        head: headers of the answer; answers may share them.

    Attributes:
        body: body of the answer.
        head: headers of the answer.
    """

    __slots__ = ("body", "head")

    def __init__(self, body: Content, head: AnswerHeaders) -> None:
        self.body = body
        self.head = head


Payload = Content | WrittenAnswer  # a body of the format's media type, or an answer with headers of its own


class Receiver(Protocol):
    """The receiver of one answer of a batch. No method may raise.

    Attributes:
        rows: number of rows of the request.
        form: form of the answer.
    """

    rows: int
    form: Any

    def send(self, payload: Payload, /) -> None:
        """Takes the answer."""

    def failed(self, error: Exception, /) -> None:
        """Takes the error that replaces the answer."""


@dataclass(frozen=True, slots=True)
class WrittenError:
    """An error in a wire format.

    Attributes:
        status: HTTP status.
        code: stable code of the error for logs; `internal` for an unforeseen error.
        detail: sentence for the client.
        content_type: media type of the body.
        body: error document.
        headers: further headers, with names in lower case.
    """

    status: int
    code: str
    detail: str
    content_type: bytes
    body: bytes
    headers: Headers = ()


class AnswerWriter(ABC):
    """Writes the answers of one model version in one format.

    Args:
        served: model version.
    """

    def __init__(self, served: ServedVersion) -> None:
        self._served = served

    @abstractmethod
    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> Payload:
        """Writes the answer to one request of a batch.

        Args:
            answer: answers to the rows of the batch; `answer.memos` keeps what the writer made of all of it.
            start: first row of the request.
            rows: number of rows of the request.
            form: form of the answer, from the reading of the request.
        """

    def write_each(self, answer: Answer, start: int, forms: Sequence[Any]) -> Iterable[Payload]:
        """Writes the answers to requests with one row each.

        Args:
            answer: answers to the rows of the batch.
            start: row of the first request.
            forms: form of the answer to each request.
        """
        return [self.write(answer, row, 1, form) for row, form in enumerate(forms, start)]

    def write_in_steps(
        self, matrices: Sequence[NDArray[np.float32]], form: Any = None
    ) -> Generator[int, None, Payload]:
        """Writes a large answer in steps; by default in a single one.

        Args:
            matrices: `(rows, width)` float32 answers each, in the order of the rows.
            form: form of the answer.

        Yields:
            The number of bytes written by a step.

        Returns:
            The answer, as the generator's value.
        """
        answer = Answer(*matrices)
        payload = self.write(answer, 0, answer.rows, form)
        yield _size(payload)
        return payload

    def write_batch_in_steps(
        self, matrix: NDArray[np.float32], requests: Sequence[tuple[Receiver, int]]
    ) -> Iterator[int]:
        """Writes the answers of a batch, and sends each as soon as possible.

        Args:
            matrix: `(rows, width)` float32 answers of the batch.
            requests: receivers with their first rows, in ascending order.

        Yields:
            The number of bytes written by a step.
        """
        for block in _blocks(requests, matrix.shape[1]):
            first = block[0][1]
            answer, written = Answer(matrix[first : block[-1][1] + block[-1][0].rows]), 0
            for receiver, start in block:
                try:
                    payload = self.write(answer, start - first, receiver.rows, receiver.form)
                except Exception as error:
                    receiver.failed(error)
                else:
                    receiver.send(payload)
                    written += _size(payload)
            yield written


class WireFormat(ABC):
    """A wire format. A method sees its arguments, and no exchange, catalog or clock.

    Attributes:
        content_type: media type of answers.
        in_steps_from: number of bytes from which on a body is read in steps by `reader`.
        answers: format of the answers; None for this one. Formats with the same one share what is written for a batch.
        needs_model: True if a body cannot be read before its model is known.
        gives_intervals: True for a format of answers that has a place for intervals and sets.
    """

    content_type: bytes
    in_steps_from: float = math.inf
    answers: WireFormat | None = None
    needs_model = False
    gives_intervals = False

    def model_in_head(self, head: Head) -> str | None:
        """Returns the reference of the model in the head, or None; called if the head has a query or a parameter.

        Raises:
            InvalidRequest: the path or the query is not valid in this format.
        """
        return None

    @abstractmethod
    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads a body at once.

        Args:
            body: body of the request, inflated.
            named: reference of the model in the head, or None.
            head: head of the request.

        Raises:
            InvalidRequest: the body is not a request of this format.
        """

    def find_model(self, body: Body, named: str | None) -> str | Undetermined | None:
        """Returns the model reference of a large body, or `UNDETERMINED` if a quick search does not find one.

        Args:
            body: body of the request, inflated.
            named: reference of the model in the head, or None.
        """
        return named

    def reader(self, body: Body, reference: str | None, encoder: RowEncoder | None, head: Head) -> RowReader:
        """Returns a reader of a body with `in_steps_from` bytes or more.

        Args:
            body: body of the request, inflated.
            reference: reference of the model, as far as known.
            encoder: encoder of the model's rows; None if the model is not known before the body was read.
            head: head of the request.
        """
        raise NotImplementedError

    def check_form(self, served: ServedVersion, form: AnswerForm | None) -> None:
        """Checks that a model version has what an answer of this form holds; by default, every version has.

        A request is checked before its rows are submitted: rows that were computed are logged and counted for drift.

        Args:
            served: model version.
            form: form of the answer; None for the usual one.

        Raises:
            InvalidRequest: the version has no such answer.
        """
        return  # not abstract: most formats have nothing to check

    @abstractmethod
    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of a model version's answers."""

    @abstractmethod
    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes an error.

        Args:
            error: error that replaces the answer.
            request_id: identifier of the request.
        """


def _size(payload: Payload) -> int:
    """Returns the number of bytes of an answer's body."""
    if isinstance(payload, WrittenAnswer):
        payload = payload.body
    return sum(map(len, payload)) if isinstance(payload, tuple) else len(payload)


def _blocks(requests: Sequence[tuple[Receiver, int]], width: int) -> Iterator[Sequence[tuple[Receiver, int]]]:
    """Divides the requests of a batch into blocks; the answers of a block take about a millisecond to write."""
    begin, first = 0, requests[0][1]
    for at, (receiver, start) in enumerate(requests):
        numbers = (start + receiver.rows - first) * width + (at - begin) * _ANSWER_NUMBERS
        if at > begin and numbers > STEP_NUMBERS:
            yield requests[begin:at]
            begin, first = at, start
    yield requests[begin:]
