"""The methods of all services by path, and the check of a call before its message comes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from service.access import Access, Scope
from service.errors import BodiesCongested, InvalidRequest, TooLarge
from service.grpc.compression import inflated
from service.grpc.frames import OK_TRAILERS, field
from service.grpc.messages import message_class, parsed
from service.grpc.statuses import Code, Unimplemented, status_of
from service.grpc.stream import Method, Stream
from service.logs import LimitedLog, get_logger
from service.request_ids import REQUEST_ID_HEADER, accepted_request_id
from service.stream.frames import Buffer

_MOST_INFLATED_BYTES = 1 << 16  # of calls other than inferences

limited_log = LimitedLog(get_logger(__name__))


def request_id_field(stream: Stream) -> bytes:
    """Returns the field with the request id of a call."""
    return field(REQUEST_ID_HEADER, accepted_request_id(stream.head.fields.get(REQUEST_ID_HEADER)))


def fail(stream: Stream, error: Exception) -> None:
    """Ends a call with an error."""
    status = status_of(error)
    if status.code == Code.INTERNAL and status.kind == "internal":
        limited_log.error("a gRPC call failed", method=stream.head.path.decode("latin-1"), exc_info=error)
    stream.finish(status.trailers() + request_id_field(stream))


class UnaryMethod:
    """A method with one message in and one out, which is answered by a coroutine.

    Args:
        request: name of the message in.
        answer: coroutine function that returns the message out.
    """

    takes_many = False

    def __init__(self, request: str, answer: Callable[[Any], Awaitable[Any]]) -> None:
        self._request = message_class(request)
        self._answer = answer
        self._running: set[asyncio.Task[None]] = set()

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Starts to answer a call."""
        task = asyncio.get_running_loop().create_task(self._run(stream, message, is_compressed))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _run(self, stream: Stream, message: Buffer, is_compressed: bool) -> None:
        try:
            if is_compressed:
                message = inflated(message, stream.head.fields.get(b"grpc-encoding"), _MOST_INFLATED_BYTES)
            if len(message) > _MOST_INFLATED_BYTES:
                raise TooLarge(f"a message of {len(message):,} bytes; the limit is {_MOST_INFLATED_BYTES:,}.")
            answer = await self._answer(parsed(self._request, message))
            stream.release()
            stream.answer(answer.SerializeToString(), OK_TRAILERS + request_id_field(stream))
        except Exception as error:
            fail(stream, error)

    def end(self, stream: Stream) -> None:
        """Does nothing: a call has one message."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a call with an error."""
        fail(stream, error)


class UnknownMethod:
    """The method of paths that no service has."""

    takes_many = False

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Refuses a call."""
        fail(stream, Unimplemented("there is no such method."))

    def end(self, stream: Stream) -> None:
        """Does nothing."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Ends a call with an error."""
        fail(stream, error)


class Methods:
    """The methods of all services.

    Args:
        by_path: method and scope by path; the scope is None for calls that need no key.
        access: API keys; None lets everybody in.
    """

    def __init__(self, by_path: Mapping[str, tuple[Method, Scope | None]], access: Access | None) -> None:
        self._by_path = {path.encode(): method for path, (method, _) in by_path.items()}
        self._scopes = dict(by_path.values())
        self._access = access
        self._unknown = UnknownMethod()

    def find(self, path: bytes) -> Method:
        """Returns the method of a path."""
        return self._by_path.get(path, self._unknown)

    def check(self, stream: Stream) -> None:
        """Accepts a call by its head.

        Raises:
            Unimplemented: there is no such method.
            InvalidRequest: the deadline is malformed.
            AccessDenied: the key is missing, unknown, repeated, or not for the method.
            BodiesCongested: the process holds too many bytes of messages.
        """
        method, head = stream.method, stream.head
        if self._access is not None:
            scope = self._scopes.get(method, Scope.READ)
            if scope is not None:
                self._access.check(head.fields.get(b"authorization"), head.fields.get(b"x-api-key"), scope)
        if method is self._unknown:
            raise Unimplemented("there is no such method.")
        if not head.is_valid:
            raise InvalidRequest("grpc-timeout is not a valid time.")
        if stream.connection.held.now >= stream.connection.held.most:
            raise BodiesCongested
