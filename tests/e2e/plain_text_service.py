"""The real server with one more wire format: rows and answers as plain text, the model in the path.

Only the format is here: keys, deadlines, limits, loading, counting and logging come from the server.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from service.batching.served_version import ServedVersion
from service.batching.ticket import Answer
from service.errors import InvalidRequest
from service.http.problems import problem_of
from service.http.routes.predict import PredictRoute, predict_routes
from service.http.wire.wire_format import AnswerWriter, Body, Head, ReadRequest, WireFormat, WrittenError
from service.server import serve
from service.settings import Settings


class PlainTextWriter(AnswerWriter):
    """Writes a label and the probabilities of a row on a line."""

    def write(self, answer: Answer, start: int, rows: int, form: Any = None) -> bytes:
        """Writes the answer to one request."""
        labels = self._served.labels
        assert labels is not None
        some = answer.matrix[start : start + rows]
        lines = [f"{labels[row.argmax()]} {' '.join(map(str, row))}\n" for row in some]
        return "".join(lines).encode()


class PlainTextFormat(WireFormat):
    """One row per line, with blanks between cells."""

    content_type = b"text/plain"

    def model_in_head(self, head: Head) -> str:
        """Returns the model of the path."""
        return head.parameters["model"]

    def read(self, body: Body, named: str | None, head: Head) -> ReadRequest:
        """Reads numbers."""
        try:
            return named, [[float(cell) for cell in line.split()] for line in body.decode().splitlines()], False, None
        except ValueError as error:
            if "unwritable" in str(error):
                raise InvalidRequest("unwritable") from error
            raise InvalidRequest(str(error)) from error

    def writer(self, served: ServedVersion) -> AnswerWriter:
        """Returns a writer of lines."""
        return PlainTextWriter(served)

    def write_error(self, error: Exception, request_id: str) -> WrittenError:
        """Writes an error as a line."""
        if str(error) == "unwritable":
            raise RuntimeError("a fault in the format's own code")
        problem = problem_of(error)
        body = f"{problem.code}: {problem.detail}\n".encode()
        return WrittenError(int(problem.status), problem.code, problem.detail, b"text/plain", body, [])


def routes() -> Sequence[PredictRoute]:
    """Returns the routes of the server and one more."""
    plain = PlainTextFormat()
    return [*predict_routes(), PredictRoute("/plain/{model}/rows", plain, lambda _: plain)]


if __name__ == "__main__":
    sys.exit(serve(Settings(), routes=routes))
