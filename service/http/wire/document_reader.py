"""The reader of a large body of a protocol whose requests are one JSON document, in steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from models.columns.encoding import RowEncoder, Rows
from service.answer_form import AnswerForm
from service.http.wire.bulk_json import NumberReader
from service.http.wire.json_document import Path, SlicedDocument
from service.http.wire.tensor_json import RowSteps, has_b64_in_steps
from service.http.wire.wire_format import Body

ReadDocument = tuple[RowSteps, AnswerForm | None]  # steps that read the rows, and the form of the answer


class DocumentFormat(Protocol):
    """A format whose requests are one JSON document.

    Attributes:
        large: paths of the arrays that may be large.
        numbers: fast reader of plain numbers.
    """

    large: Sequence[Path]
    numbers: NumberReader

    def read_document(self, document: Any, *, decodes: bool) -> ReadDocument:
        """Returns the steps that read the rows of a document, and the form of the answer.

        Args:
            document: content of the body; a large array of a large body is a `LargeArray`.
            decodes: True if a cell may be a text in base64.

        Raises:
            InvalidRequest: the document is not a request of this format.
        """


class DocumentReader:
    """A reader of one large body.

    Args:
        wire: format of the body.
        body: body of the request.
        model: reference of the model, None for the default model.
        encoder: encoder of the model's rows; None if the model is not in memory.

    Attributes:
        model: reference of the model.
        at: number of bytes read so far. Half of the time goes into the text, and half into the rows.
        form: form of the answer, once the text was read.
    """

    def __init__(self, wire: DocumentFormat, body: Body, model: str | None, encoder: RowEncoder | None) -> None:
        self.model = model
        self.at = 0
        self.form: AnswerForm | None = None
        self._wire = wire
        self._body = body
        self._takes_numbers = encoder is not None and encoder.takes_numbers

    def slices(self) -> Iterator[Rows | None]:
        """Yields rows in their order, and None after a step that gave none.

        Raises:
            InvalidRequest: the body is not a request of the format.
            RowError: some rows are not valid for the format.
        """
        wire, body = self._wire, self._body
        decodes = yield from has_b64_in_steps(body)
        text = SlicedDocument(
            body,
            wire.large,
            numbers=wire.numbers if self._takes_numbers else None,
            most_elements=len(body),
            takes_nan=True,
        )
        for _ in text.steps():
            self.at = text.at // 2
            yield None
        steps, self.form = wire.read_document(text.document, decodes=decodes)
        yield from steps
        self.at = len(body)
        yield None
