"""A stream: one call on a connection, with its messages in both directions."""

from __future__ import annotations

import time
from collections import deque
from typing import Protocol

from service.buffer_memory import buffer_memory
from service.errors import BodiesCongested, InvalidRequest, TooLarge
from service.grpc.frames import MESSAGE_HEAD, MESSAGE_HEAD_BYTES, WINDOW_BYTES
from service.grpc.request_head import RequestHead
from service.stream.frames import Buffer

SMALL_BYTES = 60_000  # a message of up to this size fits into a stream's first window


class Method(Protocol):
    """A method of a service. No function may raise or block.

    Attributes:
        takes_many: True if clients send several messages in a call.
    """

    takes_many: bool

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        """Takes a message of a call; the only one, unless the method takes many."""

    def end(self, stream: Stream) -> None:
        """Takes the end of the messages; called only if the method takes many."""

    def refuse(self, stream: Stream, error: Exception) -> None:
        """Sends an error as the answer to a call that cannot be handled."""


class Call(Protocol):
    """The part of a method that handles one call."""

    def cancelled(self) -> None:
        """Ends the call, since the client has gone or has cancelled the call."""


class HeldBytes:
    """The number of bytes of messages that an API process holds at a time.

    Args:
        most: largest number of bytes.

    Attributes:
        most: largest number of bytes.
        now: present number of bytes.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = 0


class Sender(Protocol):
    """The connection of a stream, which sends what the stream answers."""

    held: HeldBytes
    most_message_bytes: int
    peer: str | None

    def allow(self, stream: Stream, size: int) -> None:
        """Lets the client send `size` more bytes on a stream."""

    def answer(self, stream: Stream, message: bytes, trailers: bytes) -> None:
        """Sends the only message of an answer, and its end."""

    def send(self, stream: Stream, message: bytes) -> None:
        """Sends one of several messages."""

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Sends the end of an answer, after all its messages."""


class Stream:
    """One call.

    Args:
        connection: connection of the call.
        id_: number of the stream.
        head: head of the call.
        method: method that handles the call.
        send_window: number of bytes that the client allows, at first.

    Attributes:
        connection: connection of the call.
        id: number of the stream.
        head: head of the call.
        method: method that handles the call.
        started: arrival of the head, on `time.perf_counter`'s clock, in seconds.
        call: handler of the call; None before there is one.
        is_closed: True after the answer's end, or after the client has cancelled.
        is_whole: True once the client has sent everything.
        has_begun: True once the head of the answer was sent.
        receive_window: number of bytes that the client may still send.
        send_window: number of bytes that may still be sent to the client.
        pending: parts of messages that wait for a window.
        last: trailers behind the pending parts; None if more messages may come.
    """

    __slots__ = (
        "_body",
        "_held",
        "_length",
        "call",
        "connection",
        "has_begun",
        "head",
        "id",
        "is_closed",
        "is_whole",
        "last",
        "method",
        "pending",
        "receive_window",
        "send_window",
        "started",
    )

    def __init__(self, connection: Sender, id_: int, head: RequestHead, method: Method, send_window: int) -> None:
        self.connection = connection
        self.id = id_
        self.head = head
        self.method = method
        self.started = time.perf_counter()
        self.call: Call | None = None
        self.is_closed = self.is_whole = self.has_begun = False
        self.receive_window = WINDOW_BYTES
        self.send_window = send_window
        self.pending: deque[memoryview] = deque()
        self.last: bytes | None = None
        self._body: bytearray | None = None
        self._length = -1  # of the message that is coming, with its head; -1 before its head has come
        self._held = 0

    def receive(self, payload: bytes, *, is_last: bool) -> None:
        """Takes the payload of a frame."""
        body = self._body
        if body is None:
            body = self._body = bytearray()
        body += payload
        self._hold(len(payload))
        try:
            held = self.connection.held
            if self._held > SMALL_BYTES and held.now > held.most:  # many messages were let in before their bytes came
                raise BodiesCongested
            while not self.is_closed and self._take_message(body):
                body = self._body = bytearray(memoryview(body)[self._length :])
                self._length = -1
            if is_last and not self.is_closed:
                self._end()
        except Exception as error:
            self.method.refuse(self, error)

    def take_whole(self, message: bytes, *, is_compressed: bool) -> None:
        """Takes the only message of a call, which came in one frame."""
        self.is_whole = True
        self.method.handle(self, message, is_compressed=is_compressed)
        if self.method.takes_many:
            self.method.end(self)

    def _take_message(self, body: bytearray) -> bool:
        """Takes the first message if the method takes many and the message is complete; returns True if so."""
        if self._length < 0:
            if len(body) < MESSAGE_HEAD_BYTES:
                return False
            flag, length = MESSAGE_HEAD.unpack_from(body)
            if flag > 1:
                raise InvalidRequest(f"The first byte of a message is {flag}, and neither 0 nor 1.")
            self._length = length + MESSAGE_HEAD_BYTES
            self._admit(length, len(body))
        if len(body) < self._length or not self.method.takes_many:
            return False
        self.connection.allow(self, self._length)
        self._hold(-self._length)
        message = bytes(memoryview(body)[MESSAGE_HEAD_BYTES : self._length])
        self.method.handle(self, message, is_compressed=bool(body[0]))
        return True

    def _admit(self, length: int, come: int) -> None:
        """Lets the client send the rest of a message, or refuses the message.

        Raises:
            TooLarge: the message is larger than the limit.
            BodiesCongested: too many bytes are held.
        """
        if length > self.connection.most_message_bytes:
            raise TooLarge(f"a message of {length:,} bytes; the limit is {self.connection.most_message_bytes:,}.")
        rest = max(0, length + MESSAGE_HEAD_BYTES - come)
        if length > SMALL_BYTES:
            held = self.connection.held
            if held.now + rest > held.most:
                raise BodiesCongested
            buffer_memory.report("grpc", held.now + rest)
            self.connection.allow(self, rest)

    def _end(self) -> None:
        """Takes the end of what the client sends."""
        body = self._body
        self.is_whole = True
        if self.method.takes_many:
            if body:
                raise InvalidRequest("The call ends within a message.")
            self.method.end(self)
            return
        if body is None or self._length < 0 or len(body) < self._length:
            raise InvalidRequest("The call ends before its message is complete.")
        if len(body) > self._length:
            raise InvalidRequest("The method takes one message, and more bytes came.")
        self._body = None
        message = memoryview(body)[MESSAGE_HEAD_BYTES:]
        self.method.handle(self, message, is_compressed=bool(body[0]))

    def _hold(self, size: int) -> None:
        """Counts bytes that are held for this call."""
        self._held += size
        self.connection.held.now += size

    def release(self) -> None:
        """Gives back the memory of the message, which was read."""
        self._body = None
        self._hold(-self._held)

    def keep_pending(self, message: bytes) -> None:
        """Keeps a message until the client allows more bytes."""
        self.pending.append(memoryview(message))
        self._hold(len(message))

    def answer(self, message: bytes, trailers: bytes) -> None:
        """Sends the only message of the answer; does nothing after the end of the call."""
        if not self.is_closed:
            self.connection.answer(self, message, trailers)

    def send(self, message: bytes) -> None:
        """Sends one of several messages; does nothing after the end of the call."""
        if not self.is_closed:
            self.connection.send(self, message)

    def finish(self, trailers: bytes) -> None:
        """Ends the answer; does nothing after the end of the call."""
        if not self.is_closed:
            self.connection.finish(self, trailers)

    def close(self) -> None:
        """Gives back everything at the end of the call; called by the connection alone."""
        self.is_closed = True
        self.pending.clear()
        self.call = None
        if self._held:
            self.release()

    def cancel(self) -> None:
        """Ends a call after its client has left; only the connection calls this."""
        call = self.call
        self.close()
        if call is not None:
            call.cancelled()
