"""HTTP/1.1 on one connection: uvicorn's protocol with time and size limits, and a way past ASGI for hot paths.

A request whose path is in the application's `direct` table is handed to its endpoint as an `Exchange`: no task, no
messages, no event, and its answer leaves in one write. Every other request goes the ASGI way that uvicorn has. Both
share a connection, in the order in which their requests came: once the next one's head has come, reading pauses until
its turn.

What a client can make this process hold is bounded: connections, the size of a head and of a body, the bytes of all
bodies together, and the time that each of these may take.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import termios
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast
from urllib.parse import unquote_to_bytes

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.errors import MEDIA_TYPE, Problem
from service.http.connection_watch import ConnectionWatch, Phase
from service.http.exchange import DirectEndpoint, Exchange, Headers
from service.http.response_headers import NOSNIFF

MAX_HEAD_BYTES = 64 * 1024
_FAIR_READ_BYTES = 64 * 1024
_HEAD_MAY_COME = (Phase.HEAD, Phase.HANDLING)  # what comes while a request is handled is the next one's head


class Application(Protocol):
    """What the protocol asks of the ASGI application that uvicorn hands it."""

    direct: Mapping[tuple[bytes, bytes], DirectEndpoint]  # by method and path
    watch: ConnectionWatch


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        phase, since: what it does, and from when on, by the watch's clock.
    """

    app: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        application = cast(Application, self.app)
        self.watch = application.watch
        self.phase = Phase.HEAD
        self.since = self.watch.now
        self._unread = (0, 0.0)  # while writing is paused: bytes that its client has not taken, and since when
        self._overdue_since = -1.0  # `since` of the head or body whose time is over; bytes of it that had come by then
        self._overdue_bytes = 0  # and are still to be read
        self._direct = application.direct
        self._exchange: Exchange | None = None  # the direct request that is being read
        self._unanswered: set[Exchange] = set()
        self._head_bytes = 0
        self._date_headers: list[tuple[bytes, bytes]] = []
        self._default_headers = b""
        self._reads_next = False  # the next exchange of the pipeline is scheduled
        self._draining = False
        self._last_words: Problem | None = None  # said of bytes that are no request, once the requests are answered

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        if self.watch.full:
            self._write_problem(_too_many_connections())
            transport.close()
            return
        self.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or we have closed."""
        self.watch.remove(self)
        super().connection_lost(exc)
        for exchange in list(self._unanswered):
            exchange.drop()
        self._unanswered.clear()

    def shutdown(self) -> None:
        """The server stops: what has come in full or in part is answered, then the connection closes."""
        self._draining = True
        if self._unanswered:
            for exchange in self._unanswered:
                exchange.keep_alive = False
        elif self.phase == Phase.HEAD and self._head_bytes:
            pass  # the rest of a request is on its way
        elif self.phase in (Phase.HEAD, Phase.IDLE, Phase.LINGERING):
            self.transport.close()
        else:
            super().shutdown()

    def data_received(self, data: bytes) -> None:
        """Bytes of the client."""
        if self.phase == Phase.LINGERING or self.parser is None or self._last_words is not None:
            return
        if self._overdue_bytes > 0:
            self._overdue_bytes -= len(data)
        if self.phase == Phase.IDLE:
            self.phase, self.since = Phase.HEAD, self.watch.now
            self._head_bytes = 0
        if self.phase in _HEAD_MAY_COME:
            room = MAX_HEAD_BYTES - self._head_bytes
            self._head_bytes += len(data)
            if len(data) > room:  # parse no more of a head than it may have: each header is an object or three
                self._parse(data[:room])
                if self._head_bytes and self.phase in _HEAD_MAY_COME:  # no head has ended in it
                    self.headers = []
                    self.send_problem(_head_too_large())
                if self._last_words is not None or self.phase == Phase.LINGERING or self.transport.is_closing():
                    return
                data = data[room:]
        self._parse(data)
        if len(data) >= _FAIR_READ_BYTES and not self.transport.is_closing():
            # libuv reads one socket up to 32 times in a row; the others shall have their turn in between.
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _parse(self, data: bytes) -> None:
        """Hands bytes to the parser.

        A request that asks for an upgrade is read again without that wish: the parser takes its body for the other
        protocol's. There is none here, and a server may ignore the wish (RFC 9110, 7.8).
        """
        self._unset_keepalive_if_required()
        head, rest = b"", memoryview(data)
        while True:
            try:
                if head:
                    self.parser.feed_data(head)
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method, rest = self.parser.get_method(), rest[upgrade.args[0] :]
                if method == b"CONNECT":
                    self.send_400_response("CONNECT is for proxies.")
                    return
                lines = [b"%b %b HTTP/1.1" % (method, self.url)]
                lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
                head = b"\r\n".join([*lines, b"", b""])
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError:
                self.send_400_response("Invalid HTTP request received.")
                return

    def _read_on(self) -> None:
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._exchange = None

    def on_headers_complete(self) -> None:
        """The head is there: which way does this request go?"""
        if self.parser.should_upgrade():
            return  # `_parse` reads it again
        if self.phase == Phase.LINGERING or self.transport.is_closing():
            return  # it came in one piece with the connection's last request
        self.phase, self.since, self._head_bytes = Phase.BODY, self.watch.now, 0
        method = self.parser.get_method()
        endpoint = self._direct.get((method, self.url)) or self._direct.get((method, _plain_path(self.url)))
        if endpoint is None:
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expect
            self.headers += headers
            super().on_headers_complete()
            return
        keep_alive = self.parser.should_keep_alive() and self.parser.get_http_version() == "1.1"
        exchange = self._exchange = Exchange(self, endpoint, self.headers, keep_alive and not self._draining)
        busy = (self.cycle is not None and not self.cycle.response_complete) or self.pipeline
        self.cycle = exchange  # type: ignore[assignment]
        self._unanswered.add(exchange)
        if self.flow.write_paused and not busy:
            self._reads_next = True  # when the client has read its answers: `resume_writing`
        if busy or self._reads_next:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
            return
        exchange.open()
        if self.expect_100_continue and not exchange.response_complete:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._exchange is not None:
            self._exchange.add_body(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there."""
        if self.parser.should_upgrade():
            return
        if self.phase == Phase.BODY:
            self.phase = Phase.HANDLING
        exchange = self._exchange
        if exchange is None:
            super().on_message_complete()
        else:
            self._exchange = None
            exchange.finish_body()
        if self.phase == Phase.HANDLING and self.cycle is not None and self.cycle.response_complete:
            self._become_idle()

    def send(self, exchange: Exchange, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Writes a direct request's answer."""
        self._unanswered.discard(exchange)
        transport = self.transport
        if transport.is_closing():
            return
        if self.server_state.default_headers is not self._date_headers:
            self._date_headers = self.server_state.default_headers
            self._default_headers = b"".join(b"%b: %b\r\n" % header for header in (*self._date_headers, NOSNIFF))
        parts = [
            STATUS_LINE[status],
            self._default_headers,
            b"content-type: ",
            content_type,
            b"\r\nx-request-id: ",
            exchange.request_id,
            b"\r\ncontent-length: %d\r\n" % len(body),
        ]
        parts += [b"%b: %b\r\n" % header for header in headers]
        parts.append(b"\r\n" if exchange.keep_alive else b"connection: close\r\n\r\n")
        parts.append(body)
        transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        if not exchange.keep_alive:
            self._close(drained=exchange.complete)
        elif self.pipeline:
            self._reads_next = True
            self.loop.call_soon(self._open_next)
        elif exchange.complete:
            self._become_idle()
            if exchange.rest_seconds:
                self.flow.pause_reading()
                self.loop.call_later(exchange.rest_seconds, self._end_rest)
            elif self.flow.read_paused and not self.flow.write_paused:
                self.flow.resume_reading()

    def _end_rest(self) -> None:
        if not self.transport.is_closing() and not self.flow.write_paused and not self.pipeline:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """The client does not read its answers: it is asked for no more requests."""
        super().pause_writing()
        self.flow.pause_reading()
        self._unread = (self._unread_bytes(), self.watch.now)

    def resume_writing(self) -> None:
        """The client has read what waited for it."""
        super().resume_writing()
        if self._reads_next:
            self._open_next()
        elif not self.pipeline:
            self.flow.resume_reading()

    def reads(self) -> bool:
        """Whether its client has taken anything of what is there for it within `idle_seconds`, or nothing is."""
        if not self.transport.get_write_buffer_size():
            return True
        size, since = self._unread
        left = self._unread_bytes()
        if left < size:
            self._unread = (left, self.watch.now)
            return True
        return self.watch.now - since <= self.watch.limits.idle_seconds

    def _unread_bytes(self) -> int:
        """What is there for the client, here and in the kernel, which takes megabytes of it, and in strides."""
        return self.transport.get_write_buffer_size() + self._in_kernel(termios.TIOCOUTQ)

    def _in_kernel(self, question: int) -> int:
        """Bytes that wait in the kernel: on their way out (`TIOCOUTQ`), or in (`FIONREAD`)."""
        answer = bytearray(4)
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.transport.get_extra_info("socket").fileno(), question, answer)
        return int.from_bytes(answer, sys.byteorder)

    def on_response_complete(self) -> None:
        """An ASGI request was answered."""
        super().on_response_complete()
        if self.phase == Phase.HANDLING and not self.pipeline and self.cycle.response_complete:
            self._become_idle()

    def timed_out(self) -> None:
        """The watch found that this takes too long."""
        if not self.reads():
            self.transport.abort()  # closing would wait for a client that does not read
        elif self.phase == Phase.IDLE and self.transport.get_write_buffer_size():
            self.since = self.watch.now  # its client is not idle: it is still reading
        elif self.phase in (Phase.IDLE, Phase.LINGERING) or (self.phase == Phase.HEAD and not self._head_bytes):
            self.transport.close()
        elif self._exchange is not None and not self._exchange.opened:
            self.since = self.watch.now  # it waits for its turn: reading is paused, which is not the client's fault
        elif self.phase in (Phase.HEAD, Phase.BODY) and self._came_in_time():
            pass  # it is this process that is slow, and the next look tells
        elif self._exchange is not None and not self._exchange.response_complete:
            self._exchange.refuse(_too_slow("body", self.watch.limits.body_seconds))
        elif self.phase == Phase.HEAD:
            self.send_problem(_too_slow("head", self.watch.limits.header_seconds))
        else:
            self.transport.abort()

    def _came_in_time(self) -> bool:
        """Whether there is still to read of what had come when the time of this head or body was found to be over.

        What comes after that does not count: a client that is never done would have no end.
        """
        if self._overdue_since != self.since:
            self._overdue_since, self._overdue_bytes = self.since, self._in_kernel(termios.FIONREAD)
        return self._overdue_bytes > 0

    def send_400_response(self, msg: str) -> None:
        """Bytes that are not HTTP."""
        self.send_problem(Problem(HTTPStatus.BAD_REQUEST, "bad-request", msg))

    def send_problem(self, problem: Problem) -> None:
        """Answers what is no request yet, and closes; after the answers to the requests before it."""
        if self.transport.is_closing() or self.phase == Phase.LINGERING:
            return
        if self._exchange is not None and not self._exchange.response_complete:
            self._exchange.refuse(problem)  # it is in the body of this one
        elif self.pipeline or self._unanswered or (self.cycle is not None and not self.cycle.response_complete):
            self.phase, self._last_words = Phase.HANDLING, problem
        else:
            self._write_problem(problem)
            self._close(drained=False)

    def _write_problem(self, problem: Problem) -> None:
        body = problem.body()
        fields = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            *problem.raw_headers(),
            NOSNIFF,
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Begins what stood in the pipeline, whichever way it goes."""
        if isinstance(cycle, Exchange):
            self._reads_next = True
            self.pipeline.append((cycle, app))  # type: ignore[arg-type]
            self.loop.call_soon(self._open_next)
        else:
            super()._start_asgi_task(cycle, app)

    def _open_next(self) -> None:
        """The next request of the pipeline, from the event loop: thousands in a row shall not nest."""
        if self.flow.write_paused and not self.transport.is_closing():
            return  # a client that does not read its answers gets no more; `resume_writing` goes on
        if not self._reads_next:
            return
        self._reads_next = False
        if not self.pipeline or self.transport.is_closing():
            return
        cycle, app = self.pipeline.pop()
        self.since = self.watch.now
        if isinstance(cycle, Exchange):
            cycle.open()
        else:
            super()._start_asgi_task(cycle, app)
        if not self.pipeline and not self.transport.is_closing():
            self.flow.resume_reading()  # perhaps for the rest of its body

    def _become_idle(self) -> None:
        if self._last_words is not None:
            self._write_problem(self._last_words)
            self._close(drained=False)
            return
        if self._draining:
            self._close(drained=True)
            return
        self.phase, self.since = Phase.IDLE, self.watch.now

    def _close(self, *, drained: bool) -> None:
        """Closes after the last answer. Unread bytes would turn the close into a reset that overtakes the answer."""
        if drained:
            self.transport.close()
            return
        self.phase, self.since = Phase.LINGERING, self.watch.now
        self.watch.add(self)
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _plain_path(url: bytes) -> bytes:
    """The path of a request target that has a query, a host or escapes in it."""
    return unquote_to_bytes(httptools.parse_url(url).path)


def _too_many_connections() -> Problem:
    detail = "This process has as many connections as it takes; try again in a moment."
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", detail, headers={"Retry-After": "1"})


def _head_too_large() -> Problem:
    detail = f"The request's head has more than {MAX_HEAD_BYTES:,} bytes."
    return Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head-too-large", detail)


def _too_slow(part: str, seconds: float) -> Problem:
    return Problem(HTTPStatus.REQUEST_TIMEOUT, "request-timeout", f"The request's {part} took more than {seconds:g} s.")
