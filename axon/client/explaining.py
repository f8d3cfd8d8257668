"""A call for explanations: rows of any type are cut into requests, one after the other, and answered together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from axon.client.call import Call
from axon.client.documents import KnownVersion
from axon.client.errors import RowsRefused, ServerFailed, TooLarge
from axon.client.given_rows import GivenRows
from axon.client.json_rows import rows_text
from axon.client.known_versions import KnownVersions, document_of, model_path
from axon.client.steps import Request, Steps
from axon.explanations import Explanations
from models.errors import ConfigError, DataError

_MOST_ROWS = 100  # of a request; the server may take fewer


class Explaining:
    """A call for explanations.

    Args:
        call: deadline, identifier and headers of the requests.
        given: rows of the caller.
        background: rows to compare with; None for those that the model carries.
        model: reference of the model; None for the default model.
        known: model versions that the client knows.
        options: further members of the requests.
    """

    def __init__(
        self,
        call: Call,
        given: GivenRows,
        background: GivenRows | None,
        model: str | None,
        known: KnownVersions,
        options: Mapping[str, Any],
    ) -> None:
        self._call = call
        self._given = given
        self._background = background
        self._model = model
        self._known = known
        self._options = {name: value for name, value in options.items() if value is not None}

    def steps(self) -> Steps[Explanations]:
        """Asks for the explanations.

        Raises:
            ClientError: there is no answer.
            ConfigError: no model is named, and the server has no default model.
            DataError: there are no rows, or the rows lack a column of the model.
        """
        if not len(self._given):
            raise DataError("there are no rows to explain.")
        reference, version = self._model, None
        if reference is None or self._given.needs_columns or (self._background and self._background.needs_columns):
            version = yield from self._known.fetch(self._call, reference)
            if version is not None:
                reference = version.reference
        if reference is None:
            raise ConfigError("the server has no default model, or does not say which: name one with model.")
        documents: list[Mapping[str, Any]] = []
        start, size = 0, _MOST_ROWS
        while start < len(self._given):
            stop = min(start + size, len(self._given))
            try:
                documents.append((yield from self._ask(reference, start, stop, version)))
            except TooLarge:
                if stop - start == 1:
                    raise
                size = -(-(stop - start) // 2)
                continue
            except RowsRefused as error:
                raise error.moved(start) from None
            reference = f"{documents[0]['model']}@{documents[0]['version']}"  # one version answers all parts
            start = stop
        return self._joined(documents)

    def _ask(self, reference: str, start: int, stop: int, version: KnownVersion | None) -> Steps[Mapping[str, Any]]:
        """Asks about some rows."""
        names = None if version is None else version.names
        kinds = ((), ()) if version is None else (version.categorical, version.numeric)
        body = b'{"instances":' + rows_text(self._given.cells(start, stop, names, *kinds), names)
        if self._background is not None:
            cells = self._background.cells(0, len(self._background), names, *kinds)
            body += b',"background":' + rows_text(cells, names)
        for name, value in self._options.items():
            body += b',"%b":%b' % (name.encode(), orjson.dumps(value))
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = Request("POST", f"{model_path(reference)}/explain", headers, body + b"}")
        reply = yield from self._call.answer(request)
        document: Mapping[str, Any] = document_of(reply, self._call)
        return document

    def _joined(self, documents: list[Mapping[str, Any]]) -> Explanations:
        """Returns the answers to all parts as one.

        Raises:
            ServerFailed: an answer has another form.
        """
        first = documents[0]
        try:
            return Explanations(
                model=first["model"],
                version=first["version"],
                scale=first["scale"],
                background=first["background"],
                rows=[row for document in documents for row in document["explanations"]],
            )
        except (KeyError, TypeError):
            raise ServerFailed(
                "The answer is not one of an Axon server: it lacks the members of explanations.",
                status=200,
                request_id=self._call.request_id,
            ) from None
