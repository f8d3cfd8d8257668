"""A prediction: rows of any type are cut into requests, sent in the smaller wire format, and answered as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from axon.client import json_rows, open_inference, part_answers
from axon.client.answer import Answer
from axon.client.call import Call
from axon.client.documents import KnownVersion
from axon.client.errors import (
    Forbidden,
    ModelUnknown,
    RequestRefused,
    RowsRefused,
    TooLarge,
    Unauthenticated,
)
from axon.client.given_rows import GivenRows
from axon.client.known_versions import KnownVersions
from axon.client.part_answers import PartAnswer
from axon.client.steps import Request, Steps, Together
from models.conformal import check_level
from models.errors import ConfigError, DataError

Progress = Callable[[int, int], None]  # takes the number of rows answered, and of all rows

FIRST_ROW_HEADER = "X-Axon-First-Row"  # all requests of a call have one identifier: the log needs the rows' numbers

_NOT_SPOKEN = frozenset((404, 405))  # statuses of a server without the Open Inference Protocol
_LEAST_BINARY_CELLS = 64  # below, the JSON part of a binary request is larger than the numbers as text


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of requests.

    Attributes:
        rows: largest number of rows of a request.
        body_bytes: largest number of bytes of a body, unless a single row has more.
        in_flight: largest number of requests of a call that are out at a time.
        binary: True to send matrices in binary form.
    """

    rows: int = 10_000
    body_bytes: int = 4 << 20
    in_flight: int = 4
    binary: bool = True


@dataclass(frozen=True)
class _Part:
    """Some consecutive rows, and the request with these rows.

    Attributes:
        start, stop: first row, and the row after the last one.
        reference: reference of the model; None for the default model.
        version: version whose columns the rows follow; None if it is not known.
        request: request with the rows.
        is_binary: True for the binary form.
    """

    start: int
    stop: int
    reference: str | None
    version: KnownVersion | None
    request: Request
    is_binary: bool


class Prediction:
    """A call for predictions.

    Args:
        call: deadline, identifier and headers of the requests.
        given: rows of the caller.
        model: reference of the model; None for the default model.
        known: model versions that the client knows.
        limits: limits of requests.
        progress: function that is told the progress; None for none.
        members: number of members of an ensemble that answer, the first ones; None for all.
        intervals: level of intervals or sets of labels; None for predictions alone.

    Raises:
        ConfigError: `members` is not a whole number from 1 on, or `intervals` no level between 0 and 1.
    """

    def __init__(
        self,
        call: Call,
        given: GivenRows,
        model: str | None,
        known: KnownVersions,
        limits: Limits,
        progress: Progress | None,
        members: int | None = None,
        intervals: float | None = None,
    ) -> None:
        if members is not None and (type(members) is not int or members < 1):
            raise ConfigError(f"members must be a whole number from 1 on, got {members!r}.")
        self._members = members
        self._level = None if intervals is None else check_level(intervals)
        self._call = call
        self._given = given
        self._model = model
        self._known = known
        self._limits = limits
        self._progress = progress
        self._most_rows = limits.rows
        self._done = 0

    def steps(self) -> Steps[Answer]:
        """Asks for the predictions.

        Raises:
            ClientError: there is no answer.
            DataError: the rows lack a column of the model.
        """
        if not len(self._given):
            return (yield from self._nothing())
        first, version = yield from self._first()
        self._tell(first)
        answers = [first]
        if self._done < len(self._given):
            # All parts are answered by one version, also if a new one is published meanwhile.
            reference = f"{first.model}@{first.version}"
            parts = self._parts(self._done, reference, version)
            answers += yield Together(map(self._ask, parts), self._limits.in_flight, self._tell)
        whole = part_answers.joined(answers)
        has_names = whole.probabilities is not None or isinstance(whole.predictions[0], list)
        named = (yield from self._named(whole, version)) if has_names else None
        return Answer(
            model=whole.model,
            version=whole.version,
            predictions=whole.predictions,
            probabilities=whole.probabilities,
            classes=() if named is None else named.classes,
            targets=() if named is None else named.targets,
            intervals=whole.intervals,
            sets=whole.sets,
            unknown=whole.unknown,
            unknown_cells=whole.unknown_cells,
            request_id=self._call.request_id,
            index=self._given.index,
        )

    def _nothing(self) -> Steps[Answer]:
        """Returns the answer to no rows, without a prediction."""
        version = yield from self._known.fetch(self._call, self._model)
        if version is None:
            raise DataError("there are no rows, and the server does not say which model would answer them.")
        return Answer(
            model=version.model,
            version=version.version,
            predictions=[],
            classes=version.classes,
            targets=version.targets,
            request_id=self._call.request_id,
            index=self._given.index,
        )

    def _first(self) -> Steps[tuple[PartAnswer, KnownVersion | None]]:
        """Returns the answer to the first part, and the version that answered, or None.

        Cells of a frame are sent in the order and in the spelling of the columns of a known version. If another version
        answers, or the frame does not fit, the client asks for the version of today and its columns, and sends the part
        again.
        """
        reference, known = self._model, self._known
        version = known.get(reference)
        is_new = version is None
        if is_new and self._given.needs_columns:
            version = yield from known.fetch(self._call, reference)
        while True:
            try:
                part = next(self._parts(0, reference, version))
                answer = yield from self._ask_once(part)
            except TooLarge:
                if part.stop - part.start == 1:
                    raise
                self._halved(part)  # a smaller first part, whose version then answers the rest
                continue
            except DataError:  # `RowsRefused` is one
                if is_new or version is None or not self._given.needs_columns:
                    raise
                newer = yield from known.fetch(self._call, reference)
                if newer is None or newer == version:
                    raise
                version, is_new = newer, True
                continue
            if version is None or (answer.model, answer.version) == (version.model, version.version):
                return answer, version
            newer = yield from known.fetch(self._call, f"{answer.model}@{answer.version}")
            if newer is not None:
                known.keep(reference, newer)
            follows_columns = self._given.needs_columns or part.is_binary
            if newer is None or not follows_columns or newer.has_columns_of(version):
                return answer, newer
            reference, version, is_new = newer.reference, newer, True

    def _named(self, whole: PartAnswer, version: KnownVersion | None) -> Steps[KnownVersion | None]:
        """Returns the version with the names of classes and targets; None if the API key may not read models."""
        reference = f"{whole.model}@{whole.version}"
        known = version or self._known.get(reference)
        if known is None:
            try:
                known = yield from self._known.fetch(self._call, reference)
            except ModelUnknown:  # deleted meanwhile
                return None
            if known is not None:
                self._known.keep(self._model, known)
        return known

    def _parts(self, start: int, reference: str | None, version: KnownVersion | None) -> Iterator[_Part]:
        """Yields parts of the rows within the limits, from a row on."""
        rows = self._most_rows
        while start < len(self._given):
            rows = min(rows, self._most_rows)
            stop = min(start + rows, len(self._given))
            part = self._part(
                start, stop, reference, version, may_be_binary=self._limits.binary and self._known.has_binary
            )
            if len(part.request.body) > self._limits.body_bytes and stop - start > 1:
                rows = max(1, (stop - start) * self._limits.body_bytes // len(part.request.body))
                continue
            yield part
            start = stop

    def _part(
        self, start: int, stop: int, reference: str | None, version: KnownVersion | None, *, may_be_binary: bool
    ) -> _Part:
        """Returns rows as a request in the smaller form.

        Raises:
            RowsRefused: a cell cannot be sent.
            DataError: the rows lack a column of the model.
        """
        names = None if version is None else version.names
        counted = {FIRST_ROW_HEADER: str(start)} if start else {}
        may_be_binary = may_be_binary and self._level is None  # the Open Inference Protocol has no place for intervals
        if may_be_binary and reference is not None and (version is None or version.is_numeric):
            matrix = self._given.matrix(start, stop, names)
            if matrix is not None and matrix.size >= _LEAST_BINARY_CELLS:
                narrow = open_inference.narrowed(matrix, is_numeric=version is not None)
                body, json_bytes = open_inference.write_matrix(narrow, self._members)
                headers = {"Content-Type": open_inference.MEDIA_TYPE, open_inference.LENGTH_HEADER: str(json_bytes)}
                return _Part(
                    start,
                    stop,
                    reference,
                    version,
                    Request("POST", _infer_path(reference), headers | counted, body),
                    is_binary=True,
                )
        try:
            kinds = ((), ()) if version is None else (version.categorical, version.numeric)
            cells = self._given.cells(start, stop, names, *kinds)
            body = json_rows.write_rows(cells, reference, names, self._members, self._level)
        except RowsRefused as error:
            raise error.moved(start) from None
        request = Request("POST", "predict", {"Content-Type": "application/json"} | counted, body)
        return _Part(start, stop, reference, version, request, is_binary=False)

    def _ask(self, part: _Part) -> Steps[PartAnswer]:
        """Asks one version about a part; about one that is too large for the server in smaller parts.

        Raises:
            RowsRefused: the model refuses rows; they are counted in the whole input.
            ClientError: there is no answer.
        """
        try:
            return (yield from self._ask_once(part))
        except TooLarge:
            if part.stop - part.start == 1:
                raise
        rows = self._halved(part)
        answers = []
        for start in range(part.start, part.stop, rows):
            stop = min(start + rows, part.stop)
            smaller = self._part(start, stop, part.reference, part.version, may_be_binary=part.is_binary)
            answers.append((yield from self._ask(smaller)))
        return part_answers.joined(answers)

    def _halved(self, part: _Part) -> int:
        """Returns the number of rows of parts from now on, after a part of two rows or more was too large."""
        self._most_rows = min(self._most_rows, -(-(part.stop - part.start) // 2))
        return self._most_rows

    def _ask_once(self, part: _Part) -> Steps[PartAnswer]:
        """Asks about a part.

        Raises:
            TooLarge: the part is too large for the server.
            RowsRefused: the model refuses rows; they are counted in the whole input.
            ClientError: there is no answer.
        """
        rows = part.stop - part.start
        try:
            reply = yield from self._call.answer(part.request)
        except RowsRefused as error:
            raise error.moved(part.start) from None
        except (Unauthenticated, Forbidden, TooLarge):
            raise
        except RequestRefused as error:
            if not part.is_binary:
                raise
            # `/predict` says which rows and columns are wrong, and answers where the binary form is not spoken.
            as_json = self._part(part.start, part.stop, part.reference, part.version, may_be_binary=False)
            answer = yield from self._ask_once(as_json)
            self._known.has_binary = self._known.has_binary and error.status not in _NOT_SPOKEN
            return answer
        if part.is_binary:
            labels: Sequence[Any] = () if part.version is None else part.version.classes
            return part_answers.of_open_inference(reply, rows, labels, self._call.request_id)
        return part_answers.of_json(reply, rows, self._call.request_id)

    def _tell(self, answer: PartAnswer) -> None:
        self._done += len(answer.predictions)
        if self._progress is not None:
            self._progress(self._done, len(self._given))


def _infer_path(reference: str) -> str:
    """Returns the path of the Open Inference Protocol for a reference. Axon takes an alias as a part of the name."""
    name, at, version = reference.partition("@")
    if at and version.isascii() and version.isdecimal():
        return f"v2/models/{quote(name, safe='')}/versions/{version}/infer"
    return f"v2/models/{quote(reference, safe='@')}/infer"
