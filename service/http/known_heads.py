"""The heads that a process has read before: the same bytes mean the same, and need no parser.

A client repeats its head with each request. The HTTP parser reads a head for the first and the second time, and the
facts of a plain request are kept; from then on a look-up finds them. No second parser decides what a head means, so
none can disagree with the first.

Some values differ in each request: the length of the body, a request id, a sticky value, a trace, a key. These values
are cut out of the head, and the rest is its shape. So no secret is kept either. A value that is cut out has only
visible ASCII characters with single blanks between them, so it ends where its line ends, and the parser would read any
other such value in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from service.batching.version_choice import STICKY_HEADER
from service.first_row_header import FIRST_ROW_HEADER
from service.http.predict_endpoint import HttpPrediction
from service.http.request_head import Fields
from service.http.wire.wire_format import WireFormat
from service.request_ids import REQUEST_ID_HEADER
from service.trace_context import TRACEPARENT_HEADER, TRACESTATE_HEADER

END = b"\r\n\r\n"

_LENGTH = b"content-length"
_VARYING_NAMES = frozenset(
    (
        _LENGTH,
        REQUEST_ID_HEADER,
        STICKY_HEADER,
        TRACEPARENT_HEADER,
        TRACESTATE_HEADER,
        b"cookie",
        b"authorization",
        b"x-api-key",
    )
)
_VARYING = re.compile(rb"\r\n(%b): ([!-~]+(?: [!-~]+)*)(?=\r\n)" % b"|".join(sorted(_VARYING_NAMES)), re.IGNORECASE)
# A request with one of these needs more than its bytes: an interim answer, another protocol, another way to read it,
# other numbers of its rows in the log.
_NEVER_PLAIN = frozenset(
    (b"expect", b"upgrade", b"transfer-encoding", b"content-encoding", b"te", b"trailer", FIRST_ROW_HEADER)
)
_MOST_KNOWN = 512
_MOST_HEAD_BYTES = 2048
_MOST_DIGITS = 9  # of a length; a longer one is that of no small body
NO_VALUES: Mapping[bytes, bytes] = {}

Shape = tuple[bytes, ...]


class PlainHead:
    """The facts of a head, without the values that differ in each request.

    Attributes:
        endpoint: endpoint of the route.
        format: wire format of the body.
        named: reference of the model in the head, or None.
        seconds: time from the arrival to the deadline, in seconds.
        headers: headers in their order, with names in lower case.
        fields: values of headers by name.
        query: query of the request target.
        parameters: values of the parameters in the route's path.
        max_body_bytes: largest number of bytes of a body.
        answer_lines: header lines of the answer that depend on the head.
    """

    __slots__ = (
        "answer_lines",
        "endpoint",
        "fields",
        "format",
        "headers",
        "max_body_bytes",
        "named",
        "parameters",
        "query",
        "seconds",
    )

    def __init__(self, prediction: HttpPrediction) -> None:
        exchange = prediction.exchange
        self.endpoint = endpoint = prediction.endpoint
        self.format: WireFormat = prediction.format
        self.named = prediction.named
        self.seconds = prediction.seconds
        self.headers = [header for header in exchange.headers if header[0] not in _VARYING_NAMES]
        self.fields: Fields = dict(self.headers)
        self.query = exchange.query
        self.parameters = exchange.parameters
        self.max_body_bytes = exchange.max_body_bytes
        lines = endpoint.cors.headers(self.headers) if endpoint.cors is not None else []
        self.answer_lines = b"".join(b"%b: %b\r\n" % line for line in lines)


class FoundHead:
    """A head that was found.

    Attributes:
        head: facts of the head.
        length: number of bytes of the body.
        values: values of the head that differ in each request, by name.
    """

    __slots__ = ("head", "length", "values")

    def __init__(self, head: PlainHead, length: int, values: Mapping[bytes, bytes]) -> None:
        self.head = head
        self.length = length
        self.values = values


class KnownHeads:
    """The heads of plain requests. The number of heads is bounded; beyond it, all are learned again."""

    def __init__(self) -> None:
        self.exact: dict[bytes, FoundHead] = {}
        self._shapes: dict[Shape, PlainHead] = {}
        self._seen: set[int] = set()  # hashes of shapes that came once: most of those never come again

    def find(self, head: bytes) -> FoundHead | None:
        """Returns the facts of a head, or None if its shape is not known."""
        found = self.exact.get(head)
        if found is not None:
            return found
        shape, values = _cut(head)
        plain = self._shapes.get(shape)
        length = values.get(_LENGTH, b"")
        if plain is None or not length.isdigit() or length[:1] == b"0" or len(length) > _MOST_DIGITS:
            return None
        if int(length) >= plain.format.in_steps_from:
            return None
        found = FoundHead(plain, int(length), values)
        if len(values) == 1:  # the head repeats itself, as far as its body has the same length, and has no secret
            if len(self.exact) >= _MOST_KNOWN:
                self.exact.clear()
            found.values = NO_VALUES
            self.exact[head] = found
        return found

    def learn(self, data: bytes, prediction: HttpPrediction) -> None:
        """Keeps the facts of a plain request's head, once the head has come twice.

        Args:
            data: all bytes of the request, as they came in one piece to a connection without other requests.
            prediction: the same request, complete and not answered, as the parser has read it.
        """
        exchange = prediction.exchange
        fields, end = exchange.fields, data.find(END) + len(END)
        if not exchange.keep_alive or end > _MOST_HEAD_BYTES or len(fields) != len(exchange.headers):
            return
        if not _NEVER_PLAIN.isdisjoint(fields) or fields.get(b"connection", b"keep-alive").lower() != b"keep-alive":
            return
        # The parser's head is as long as the bytes up to the first blank line: the body is what is left.
        if fields.get(_LENGTH) != b"%d" % (len(data) - end) or len(exchange.body) != len(data) - end:
            return
        shape, values = _cut(data[:end])
        # Each value that differs was cut out of its line, and nothing else was.
        if shape in self._shapes or values != {name: fields[name] for name in _VARYING_NAMES & fields.keys()}:
            return
        mark = hash(shape)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_KNOWN:
                self._seen.clear()
            self._seen.add(mark)
            return
        if len(self._shapes) >= _MOST_KNOWN:
            self.clear()
        self._shapes[shape] = PlainHead(prediction)

    def clear(self) -> None:
        """Forgets all heads."""
        self.exact.clear()
        self._shapes.clear()


def _cut(head: bytes) -> tuple[Shape, Mapping[bytes, bytes]]:
    """Returns the shape of a head, and the values that were cut out, by name in lower case."""
    parts: Sequence[bytes] = _VARYING.split(head)
    values = dict(zip(map(bytes.lower, parts[1::3]), parts[2::3], strict=True))
    return (*parts[::3], *parts[1::3]), values
