"""The outgoing half of a connection: answers as frames, within the windows that the client allows.

The answer to a small call goes as three frames in one piece. Other answers go in parts, as far as the client reads.
"""

from __future__ import annotations

import asyncio
from typing import Any

from service.grpc import frames
from service.grpc.connection_watch import ConnectionWatch
from service.grpc.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    HEAD,
    HEADERS,
    MESSAGE_HEAD,
    MESSAGE_HEAD_BYTES,
    WINDOW_BYTES,
)
from service.grpc.stream import Stream

_HEAD_WORD = len(frames.ANSWER_HEAD) << 8 | HEADERS


class AnsweringConnection(asyncio.Protocol):
    """A connection that sends answers.

    Args:
        watch: watch over the connections of the process.

    Attributes:
        watch: watch over the connections of the process.
        held: number of bytes that the process holds.
        most_message_bytes: largest size of a message.
        peer: address of the client; None if it is not known.
        streams: open streams by number.
        since: time of the last progress on the watch's clock, in seconds.
        send_window: number of bytes that the client allows on all streams together.
        first_window: number of bytes that the client allows on a new stream.
        is_paused: True while the transport holds as many bytes as it should.
    """

    def __init__(self, watch: ConnectionWatch) -> None:
        self.watch = watch
        self.held = watch.held
        self.most_message_bytes = watch.limits.max_body_bytes
        self.peer: str | None = None
        self.streams: dict[int, Stream] = {}
        self.since = watch.now
        self.transport: Any = None
        self.send_window = WINDOW_BYTES
        self.first_window = WINDOW_BYTES
        self.is_paused = False

    def answered(self, stream: Stream) -> None:
        """Ends an answered call."""
        raise NotImplementedError

    def pause_writing(self) -> None:
        """Stops large answers until the client reads."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """Goes on with large answers."""
        self.is_paused = False
        self.since = self.watch.now
        self.send_pending()

    @property
    def is_waiting_for_client(self) -> bool:
        """True if answers wait until the client reads."""
        return self.is_paused or any(stream.pending for stream in self.streams.values())

    def allow(self, stream: Stream, size: int) -> None:
        """Lets the client send `size` more bytes on a stream."""
        if size > 0:
            stream.receive_window += size
            self.transport.write(frames.window_update(stream.id, size))

    def answer(self, stream: Stream, message: bytes, trailers: bytes) -> None:
        """Sends the only message of an answer, and its end."""
        size = len(message) + MESSAGE_HEAD_BYTES
        if size > FRAME_BYTES or size > self.send_window or size > stream.send_window or stream.has_begun:
            self.send(stream, message)
            self.finish(stream, trailers)
            return
        self.send_window -= size
        id_ = stream.id
        self.transport.write(
            b"".join(
                (
                    HEAD.pack(_HEAD_WORD, END_HEADERS, id_),
                    frames.ANSWER_HEAD,
                    HEAD.pack(size << 8, 0, id_),
                    MESSAGE_HEAD.pack(0, len(message)),
                    message,
                    HEAD.pack(len(trailers) << 8 | HEADERS, END_HEADERS | END_STREAM, id_),
                    trailers,
                )
            )
        )
        self.answered(stream)

    def send(self, stream: Stream, message: bytes) -> None:
        """Sends one of several messages, as far as the client allows."""
        if not stream.has_begun:
            stream.has_begun = True
            self.transport.write(frames.frame(HEADERS, END_HEADERS, stream.id, frames.ANSWER_HEAD))
        stream.keep_pending(MESSAGE_HEAD.pack(0, len(message)))
        stream.keep_pending(message)
        self.since = self.watch.now
        self._send_from(stream)

    def finish(self, stream: Stream, trailers: bytes) -> None:
        """Sends the end of an answer, once all its messages are sent."""
        stream.last = trailers
        self._send_from(stream)

    def send_pending(self) -> None:
        """Sends what waited for a window or for the transport."""
        for stream in [stream for stream in self.streams.values() if stream.pending]:
            self._send_from(stream)

    def _send_from(self, stream: Stream) -> None:
        """Sends pending parts of an answer as far as the windows allow, and then its end."""
        pending = stream.pending
        while pending and not self.is_paused:
            room = min(FRAME_BYTES, self.send_window, stream.send_window)
            if room <= 0:
                return
            part = pending[0]
            some, rest = part[:room], part[room:]
            if rest:
                pending[0] = rest
            else:
                pending.popleft()
            self.send_window -= len(some)
            stream.send_window -= len(some)
            if some:
                self.transport.write(HEAD.pack(len(some) << 8, 0, stream.id) + some)
        if not pending and stream.last is not None:
            trailers = stream.last if stream.has_begun else frames.ANSWER_HEAD + stream.last
            self.transport.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, stream.id, trailers))
            self.answered(stream)
