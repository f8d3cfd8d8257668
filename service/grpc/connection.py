"""A connection of the gRPC door: HTTP/2 frames become calls of the methods.

A small call comes as two frames in one piece. For such a call the code is a look-up of the head, a look-up of the
stream, and one write of the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.grpc import frames
from service.grpc.answering_connection import AnsweringConnection
from service.grpc.connection_watch import ConnectionWatch
from service.grpc.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES,
    GREATEST_ID,
    GREATEST_WINDOW,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    LONG,
    MESSAGE_HEAD,
    MESSAGE_HEAD_BYTES,
    PADDED,
    PREFACE,
    WINDOW_BYTES,
)
from service.grpc.http2_error import ConnectionFault, StreamFault
from service.grpc.methods import Methods
from service.grpc.request_head import HEADER_LIST_BYTES, HeadReader
from service.grpc.stream import Stream
from service.logs import LimitedLog, get_logger

_MOST_STREAMS = 1024  # calls at a time on one connection
_TOP_UP_BYTES = 1 << 30  # received bytes after which the connection's window is filled up again
_PATIENCE = 2000  # frames without use, such as pings and cancelled calls, beyond the useful ones

_GREETING = frames.settings(
    (frames.MAX_CONCURRENT_STREAMS, _MOST_STREAMS), (frames.MAX_HEADER_LIST_SIZE, HEADER_LIST_BYTES)
) + frames.window_update(0, GREATEST_WINDOW - WINDOW_BYTES)
_ACK = frames.frame(frames.SETTINGS, frames.ACK, 0)
_LAST_PING = b"drain..."  # its answer comes behind the calls that the client sent before it saw the GOAWAY

limited_log = LimitedLog(get_logger(__name__))


class GrpcConnection(AnsweringConnection):
    """One connection.

    Args:
        methods: methods by path.
        watch: watch over the connections of the process.

    Attributes:
        on_lost: function that is called at the end of the connection; the acceptor sets it.
        is_draining: True once the connection is about to close.
        is_ending: True once nothing more is sent, and what comes is dropped.
        is_greeted: True once the client has sent the preface of HTTP/2.
    """

    on_lost: Callable[[], None] | None = None

    def __init__(self, methods: Methods, watch: ConnectionWatch) -> None:
        super().__init__(watch)
        self._methods = methods
        self.is_draining = False
        self._heads = HeadReader()
        self._buffer = b""
        self.is_greeted = False
        self._last_id = 0
        self._final_id = GREATEST_ID  # streams above it are left to another connection of the client
        self._received = 0
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags and first part of a header block
        self._patience = _PATIENCE
        self.is_ending = False

    def connection_made(self, transport: Any) -> None:
        """Greets a client, or refuses the connection if there are too many."""
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if peer else None
        self.since = self.watch.now
        if not self.watch.add(self):
            transport.write(_GREETING + frames.go_away(0, frames.NO_ERROR, "too many connections"))
            transport.close()
            return
        transport.write(_GREETING)

    def connection_lost(self, error: Exception | None) -> None:
        """Ends all calls of the connection."""
        self.watch.discard(self)
        self.is_ending = True
        streams, self.streams = list(self.streams.values()), {}
        for stream in streams:
            stream.cancel()
        if self.on_lost is not None:
            self.on_lost()

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        """Reads frames."""
        if self.is_ending:
            return
        if self._buffer:
            data = self._buffer + data
        try:
            at = 0
            if not self.is_greeted:
                if len(data) < len(PREFACE) and PREFACE.startswith(data):
                    self._buffer = data
                    return
                if not data.startswith(PREFACE):
                    self._fail(frames.PROTOCOL_ERROR, "this port speaks HTTP/2 alone")
                    return
                self.is_greeted = True
                at = len(PREFACE)
            at = self._read(data, at)
            self._buffer = data[at:]
        except ConnectionFault as fault:
            self._fail(fault.code, str(fault))
        except Exception:
            limited_log.error("a gRPC connection failed", exc_info=True)
            self._fail(frames.PROTOCOL_ERROR, "the server failed on this connection")

    def _read(self, data: bytes, at: int) -> int:
        """Reads the whole frames from `at` on, and returns the position after the last one."""
        end = len(data)
        while end - at >= HEAD_BYTES:
            word, flags, id_ = HEAD.unpack_from(data, at)
            length, kind = word >> 8, word & 0xFF
            id_ &= GREATEST_ID
            if length > FRAME_BYTES:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a frame is too large")
            start = at + HEAD_BYTES
            stop = start + length
            if stop > end:
                break
            if self._block is not None and kind != frames.CONTINUATION:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block is not continued")
            if kind == frames.DATA:
                self._read_data(id_, flags, data, start, stop)
            elif kind == HEADERS:
                self._read_headers(id_, flags, data[start:stop])
            elif kind == frames.WINDOW_UPDATE:
                self._read_window_update(id_, data[start:stop])
            else:
                self._read_control(kind, flags, id_, data[start:stop])
            at = stop
        return at

    def _read_data(self, id_: int, flags: int, data: bytes, start: int, stop: int) -> None:
        """Reads a message, or a part of one."""
        size = stop - start
        self._received += size
        if self._received >= _TOP_UP_BYTES:
            self.transport.write(frames.window_update(0, self._received))
            self._received = 0
        stream = self.streams.get(id_)
        if stream is None or stream.is_whole:
            if id_ == 0 or id_ > self._last_id or stream is not None:
                raise ConnectionFault(frames.STREAM_CLOSED, "data came for a stream that is not open")
            self._lose_patience()  # the call was answered or refused before all of it came
            return
        stream.receive_window -= size
        if stream.receive_window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "more data came than the window allows")
        if flags & PADDED:
            padding = data[start] + 1 if size else 1
            if padding > size:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame is all padding")
            self.allow(stream, padding)
            start, stop = start + 1, stop - padding + 1
        if not size:
            self._lose_patience()
        is_last = bool(flags & END_STREAM)
        if is_last and size >= MESSAGE_HEAD_BYTES and stream.receive_window + size == WINDOW_BYTES:
            flag, length = MESSAGE_HEAD.unpack_from(data, start)
            if length == stop - start - MESSAGE_HEAD_BYTES and flag <= 1:
                stream.take_whole(data[start + MESSAGE_HEAD_BYTES : stop], is_compressed=flag == 1)
                return
        stream.receive(data[start:stop], is_last=is_last)

    def _read_headers(self, id_: int, flags: int, payload: bytes) -> None:
        """Reads the first frame of a header block."""
        start, stop = 0, len(payload)
        if flags & PADDED:
            if not payload or payload[0] >= len(payload):
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a frame is all padding")
            start, stop = 1, stop - payload[0]
        if flags & frames.HAS_PRIORITY:
            start += 5
        if start > stop:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "a frame is too short")
        block = payload[start:stop] if start or stop != len(payload) else payload
        if flags & END_HEADERS:
            self._take_block(id_, flags, block)
        else:
            self._block = id_, flags, bytearray(block)

    def _continue_block(self, id_: int, flags: int, payload: bytes) -> None:
        """Reads a further frame of a header block."""
        if self._block is None or id_ != self._block[0]:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a continuation without a beginning")
        self._lose_patience()
        _, first_flags, block = self._block
        block += payload
        if len(block) > HEADER_LIST_BYTES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a header block is too large")
        if flags & END_HEADERS:
            self._block = None
            self._take_block(id_, first_flags, bytes(block))

    def _take_block(self, id_: int, flags: int, block: bytes) -> None:
        """Opens the stream of a whole header block, or ends one that is open."""
        if id_ <= self._last_id or not id_ & 1:
            self._take_trailers(id_, flags, block)
            return
        self._last_id = id_
        if id_ > self._final_id or len(self.streams) >= _MOST_STREAMS:
            self._heads.skip(block)
            self._lose_patience()
            if id_ <= self._final_id:
                self.transport.write(frames.reset(id_, frames.REFUSED_STREAM))
            return
        try:
            head = self._heads.read(block)
        except StreamFault:
            self._lose_patience()
            self.transport.write(frames.reset(id_, frames.PROTOCOL_ERROR))
            return
        if head.http_error:
            self._write_http_error(id_, head.http_error, is_whole=bool(flags & END_STREAM))
            return
        stream = Stream(self, id_, head, self._methods.find(head.path), self.first_window)
        self.streams[id_] = stream
        self.since = self.watch.now
        try:
            self._methods.check(stream)
        except Exception as error:
            stream.method.refuse(stream, error)
            return
        if flags & END_STREAM:
            stream.receive(b"", is_last=True)

    def _take_trailers(self, id_: int, flags: int, block: bytes) -> None:
        """Takes the header block behind the messages of a call, which gRPC's clients do not send."""
        stream = self.streams.get(id_)
        if id_ == 0 or not id_ & 1 or (stream is not None and stream.is_whole):
            raise ConnectionFault(frames.PROTOCOL_ERROR, "a header block on a stream that cannot have it")
        self._heads.skip(block)
        self._lose_patience()
        if stream is not None:
            if not flags & END_STREAM:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "a second header block does not end the stream")
            stream.receive(b"", is_last=True)

    def _read_window_update(self, id_: int, payload: bytes) -> None:
        """Takes the client's leave to send more."""
        if len(payload) != LONG.size:
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE has not four bytes")
        size = LONG.unpack(payload)[0] & GREATEST_WINDOW
        if size == 0:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        if id_ == 0:
            self.send_window += size
            if self.send_window > GREATEST_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the window is too large")
        elif (stream := self.streams.get(id_)) is not None:
            stream.send_window += size
            if stream.send_window > GREATEST_WINDOW:
                raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the window is too large")
        elif id_ > self._last_id:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "WINDOW_UPDATE for a stream that was never open")
        self.since = self.watch.now
        self.send_pending()

    def _read_control(self, kind: int, flags: int, id_: int, payload: bytes) -> None:
        """Reads a frame that carries no part of a call."""
        if kind == frames.CONTINUATION:
            self._continue_block(id_, flags, payload)
            return
        self._lose_patience()
        if kind == frames.RST_STREAM:
            if len(payload) != LONG.size or id_ == 0 or id_ > self._last_id:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "RST_STREAM of a stream that was never open")
            if (stream := self.streams.pop(id_, None)) is not None:
                stream.cancel()
                self._close_if_done()
        elif kind == frames.SETTINGS:
            self._read_settings(flags, id_, payload)
        elif kind == frames.PING:
            if len(payload) != 8 or id_:
                raise ConnectionFault(frames.FRAME_SIZE_ERROR, "PING has not eight bytes")
            if not flags & frames.ACK:
                self.transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
            elif self.is_draining and payload == _LAST_PING:
                self._announce_last()
        elif kind == frames.GOAWAY:
            self.is_draining = True  # the client closes once its calls have ended
            self._close_if_done()
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE from a client")

    def _read_settings(self, flags: int, id_: int, payload: bytes) -> None:
        """Takes the settings of the client."""
        if id_ or len(payload) % frames.SETTING.size or (flags & frames.ACK and payload):
            raise ConnectionFault(frames.FRAME_SIZE_ERROR, "SETTINGS is malformed")
        if flags & frames.ACK:
            return
        for name, value in frames.SETTING.iter_unpack(payload):
            if name == frames.MAX_FRAME_SIZE and not FRAME_BYTES <= value < 1 << 24:
                raise ConnectionFault(frames.PROTOCOL_ERROR, "MAX_FRAME_SIZE is out of range")
            if name == frames.INITIAL_WINDOW_SIZE:
                if value > GREATEST_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE is out of range")
                for stream in self.streams.values():
                    stream.send_window += value - self.first_window
                self.first_window = value
        self.transport.write(_ACK)
        self.send_pending()

    def _lose_patience(self) -> None:
        """Counts a frame without use; a client that sends too many such frames is disconnected."""
        self._patience -= 1
        if self._patience < 0:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "too many frames without use")

    def regain_patience(self) -> None:
        """Forgives frames without use, from time to time."""
        self._patience = min(_PATIENCE, self._patience + _PATIENCE // 4)

    def answered(self, stream: Stream) -> None:
        """Ends an answered call."""
        del self.streams[stream.id]
        if not stream.is_whole:  # the client need not send the rest
            self.transport.write(frames.reset(stream.id, frames.NO_ERROR))
        stream.close()
        self._patience = min(_PATIENCE, self._patience + 4)
        if not self.streams:
            self.since = self.watch.now
        if self.is_draining or self.watch.is_draining:
            self._after_answer()

    def _write_http_error(self, id_: int, status: int, *, is_whole: bool) -> None:
        """Answers a request that is not gRPC."""
        self._lose_patience()
        self.transport.write(frames.frame(HEADERS, END_HEADERS | END_STREAM, id_, frames.http_error(status)))
        if not is_whole:
            self.transport.write(frames.reset(id_, frames.NO_ERROR))

    # --- the end

    def drain(self) -> None:
        """Asks the client to use another connection; calls that were sent are still answered."""
        if self.is_draining or self.is_ending:
            return
        self.is_draining = True
        last_words = frames.go_away(GREATEST_ID, frames.NO_ERROR, "the server is about to stop")
        self.transport.write(last_words + frames.frame(frames.PING, 0, 0, _LAST_PING))

    def _announce_last(self) -> None:
        """Announces the last call, after the client has seen the first GOAWAY; later calls are left alone."""
        self._final_id = self._last_id
        self.transport.write(frames.go_away(self._final_id, frames.NO_ERROR, "the server is about to stop"))
        self._close_if_done()

    def _after_answer(self) -> None:
        """Drains a connection that has begun during the drain, or closes one that has nothing left to answer."""
        if self.is_draining:
            self._close_if_done()
        else:
            self.drain()

    def _close_if_done(self) -> None:
        """Closes a connection that will get no further call, once all its calls are answered."""
        if self.is_draining and self._final_id != GREATEST_ID and not self.streams and not self.is_ending:
            self._end()

    def _end(self) -> None:
        """Sends what is left and no more. The client closes the connection, or else the watch does after a while.

        Closing at once would reset the connection if the client has sent more, and could destroy the last answer.
        """
        self.is_ending = True
        self.since = self.watch.now
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def end_idle(self) -> None:
        """Closes a connection without calls; the client opens another one for its next call."""
        if self.is_greeted:
            self.drain()
        else:
            self.abort()

    def end_slow(self, seconds: float) -> None:
        """Refuses calls whose message takes longer to come."""
        for stream in list(self.streams.values()):
            if not stream.is_whole and not stream.method.takes_many and self.watch.age(stream) > seconds:
                stream.method.refuse(stream, self.watch.too_slow)

    def abort(self) -> None:
        """Cuts the connection."""
        self.is_ending = True
        self.transport.abort()

    def _fail(self, code: int, reason: str) -> None:
        """Closes the connection after a breach of the protocol."""
        self.transport.write(frames.go_away(self._last_id, code, reason))
        for stream in list(self.streams.values()):
            stream.cancel()
        self.streams.clear()
        self._end()
