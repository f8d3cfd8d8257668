"""HTTP/1.1 on one connection: uvicorn's protocol with time and size limits, and direct routes that bypass ASGI.

A request whose path is in the application's `direct` table is handed to its endpoint as an `Exchange`: no task, no
messages, no event, and a single write for the answer. Every other request goes through uvicorn's ASGI code. Both kinds
can share a connection and are answered in the order of their arrival: once the head of the next request has come,
reading pauses until its turn.

The resources that a client can take are bounded: the number of connections, the size of a head and of a body, the bytes
of all bodies together, and the time for each of these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.answer_heads import AnswerHeads
from service.http.client_progress import ClientProgress
from service.http.connection_problems import bad_request, closing_answer, head_too_large, too_many_connections, too_slow
from service.http.connection_watch import ConnectionWatch, Phase
from service.http.direct_routes import DirectRoutes
from service.http.exchange import NO_PARAMETERS, Content, Exchange, Headers
from service.http.inflated_exchange import exchange_for_coded
from service.http.problems import Problem
from service.http.request_head import Fields, head_fault, is_probe, joined_fields, known_hosts

MAX_HEAD_BYTES = 64 * 1024
_FAIR_READ_BYTES = 64 * 1024
_REFUSED_BODY_SECONDS = 0.5  # time after which the rest of a refused body is read and dropped
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_FIRST_REQUEST_SECONDS = 1.0  # time that a new client has to begin a request after the server's stop has begun
_HEAD_MAY_COME = (Phase.HEAD, Phase.HANDLING)  # bytes that come while a request is handled belong to the next head


class _Refused(Exception):
    """Raised through the parser if a request was refused by its head; no further bytes are parsed."""


class Application(Protocol):
    """The part of the ASGI application that the protocol needs.

    Attributes:
        direct: direct routes.
        watch: watch over the connections of the process.
    """

    direct: DirectRoutes
    watch: ConnectionWatch


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        watch: watch over the connections of the process.
        phase: current phase of the connection.
        since: start of the phase on the watch's clock, in seconds.
        on_lost: function called at the end of the connection, or None.
    """

    app: Any
    on_lost: Callable[[], None] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        application = cast(Application, self.app)
        self.watch = application.watch
        self.phase = Phase.HEAD
        self.since = self.watch.now
        self._direct = application.direct
        self._exchange: Exchange | None = None  # the direct request that is being read
        self._unanswered: set[Exchange] = set()
        self._head_bytes = 0
        self._heads = AnswerHeads()
        self._reads_next = False  # True if `_open_next` has to open the next request of the pipeline
        self._draining = self.watch.draining
        self._held_since = 0.0  # time at which reading was held, on the watch's clock
        self._in_reserve = False  # beyond the limit of connections, but the first request may be a health probe
        self._final_problem: Problem | None = None  # sent after all other answers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes a new connection, in the reserve if there are too many."""
        super().connection_made(transport)
        self._client = ClientProgress(transport, self.watch)
        if self.watch.full:
            self._in_reserve = True
            self.watch.add_to_reserve(self)
        else:
            self.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends all requests of the connection, which the client or the server has closed."""
        self.watch.remove(self)
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)
        for exchange in list(self._unanswered):
            exchange.drop()
        self._unanswered.clear()

    def shutdown(self) -> None:
        """Closes the connection once all requests that have come in full or in part are answered; the server stops."""
        self._draining = True
        if self._unanswered:
            for exchange in self._unanswered:
                exchange.keep_alive = False
        elif self.phase == Phase.HEAD and self._head_bytes:
            pass  # the rest of a request is yet to come
        elif self.phase in (Phase.HEAD, Phase.IDLE) and self._client.has_sent():
            pass  # a request is in the socket, and is read next
        elif self.phase == Phase.HEAD and (left := self.since + _FIRST_REQUEST_SECONDS - self.watch.now) > 0:
            self.loop.call_later(left, self._close_unused)  # the client may be about to send its first request
        elif self.phase in (Phase.HEAD, Phase.IDLE, Phase.LINGERING):
            self.transport.close()
        else:
            super().shutdown()

    def _close_unused(self) -> None:
        """Closes the connection if the client has sent nothing."""
        if self.phase == Phase.HEAD and not self._head_bytes and not self._client.has_sent():
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Handles bytes of the client."""
        if self.phase == Phase.LINGERING or self.parser is None or self._final_problem is not None:
            return
        if self._client.overdue_bytes > 0:
            self._client.overdue_bytes -= len(data)
        if self.phase == Phase.IDLE:
            self.phase, self.since = Phase.HEAD, self.watch.now
            self._head_bytes = 0
        if self.phase in _HEAD_MAY_COME:
            room = MAX_HEAD_BYTES - self._head_bytes
            self._head_bytes += len(data)
            if len(data) > room:  # parse no more than a head may have: each header makes one to three objects
                self._parse(data[:room])
                if self._head_bytes and self.phase in _HEAD_MAY_COME:  # the head has not ended within the limit
                    self.headers = []
                    self.send_problem(head_too_large(MAX_HEAD_BYTES))
                if self._final_problem is not None or self.phase == Phase.LINGERING or self.transport.is_closing():
                    return
                data = data[room:]
        self._parse(data)
        if len(data) >= _FAIR_READ_BYTES and not self.transport.is_closing():
            # libuv reads one socket up to 32 times in a row. The pause lets other sockets have their turn in between.
            self.transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Handles the end of the client's bytes; its requests are still answered (docs/decisions/0018).

        Returns:
            True if the connection stays open for the answers. TLS has no half-closed connections.
        """
        if self.scheme == "https" or self.phase == Phase.LINGERING or self.parser is None:
            return False
        self._client.half_close()
        if self._exchange is not None and not self._exchange.response_complete:
            self.send_problem(bad_request("The connection ended before the request's body did."))
        if not self._is_busy() or self.transport.is_closing():
            return False
        self.cycle.keep_alive = False
        return True

    def _is_busy(self) -> bool:
        """Returns True if a request of this connection is not answered yet."""
        return bool(self.pipeline or self._unanswered or (self.cycle is not None and not self.cycle.response_complete))

    def _parse(self, data: bytes) -> None:
        """Hands bytes to the parser.

        A request with `Upgrade` is parsed again without that header, since the parser takes its body for bytes of the
        other protocol. This server has no other protocol, and may ignore the header (RFC 9110, 7.8).
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
            except httptools.HttpParserError as error:
                if not isinstance(error.__context__, _Refused):
                    self.send_400_response("Invalid HTTP request received.")
                return

    def _read_on(self) -> None:
        """Resumes reading after a turn of the other sockets."""
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def on_message_begin(self) -> None:
        """Prepares for a new request."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._exchange = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes one header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Checks the complete head, and chooses between a direct route and ASGI."""
        if self.parser.should_upgrade():
            return  # `_parse` parses it again
        if self.phase == Phase.LINGERING or self.transport.is_closing():
            return  # it came together with the last request of the connection
        fields: Fields = dict(self.headers)
        if len(fields) != len(self.headers):
            fields = joined_fields(self.headers)
        if fields.get(b"host") not in known_hosts or b"transfer-encoding" in fields:
            self._check_head(fields)
        if self._in_reserve:
            self._leave_reserve()
        self.phase, self.since, self._head_bytes = Phase.BODY, self.watch.now, 0
        if b"expect" in fields and self.parser.get_http_version() == "1.1":
            self.expect_100_continue = fields[b"expect"].lower() == b"100-continue"
        method = self.parser.get_method()
        query, parameters = b"", NO_PARAMETERS
        endpoint = self._direct.exact.get((method, self.url))
        if endpoint is None:
            found = self._direct.find(method, self.url)
            if found is None:
                self._begin_asgi()
                return
            endpoint, query, parameters = found
        # By itself, the parser keeps connections alive only with HTTP/1.1.
        keep_alive = not self._draining and self.parser.should_keep_alive()
        if keep_alive and b"connection" in fields:
            keep_alive = self.parser.get_http_version() == "1.1"
        new = exchange_for_coded if b"content-encoding" in fields else Exchange
        exchange = self._exchange = new(self, endpoint, self.headers, fields, keep_alive)
        if query or parameters:
            exchange.query, exchange.parameters = query, parameters
        busy = (self.cycle is not None and not self.cycle.response_complete) or self.pipeline
        self.cycle = exchange  # type: ignore[assignment]
        self._unanswered.add(exchange)
        if self.flow.write_paused and not busy:
            self._reads_next = True  # `resume_writing` opens it, when the client has read its answers
        if self.expect_100_continue:
            exchange.expects_continue = True
        if busy or self._reads_next:
            self.flow.pause_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]
            return
        exchange.open()
        if self.expect_100_continue:
            exchange.ask_for_body()

    def _begin_asgi(self) -> None:
        """Hands the request to uvicorn's ASGI code."""
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers += headers
        super().on_headers_complete()
        if self._draining or self.watch.draining:
            self.cycle.keep_alive = False

    def _check_head(self, fields: Fields) -> None:
        """Refuses a request with a faulty head; raises `_Refused` then."""
        problem = head_fault(fields, self.parser.get_http_version())
        if problem is not None:
            self.send_problem(problem)
            raise _Refused

    def _leave_reserve(self) -> None:
        """Handles the first request of a connection beyond the limit.

        A health probe is answered. Any other request is answered only if there is room for the connection by now.

        Raises:
            _Refused: the connection is turned away.
        """
        self._in_reserve = False
        if self.watch.full:
            asks_for_health = is_probe(self.parser.get_method(), self.url, self.watch.limits.root_path)
            if not (self.watch.takes_probes and asks_for_health):
                self.turn_away()
                raise _Refused
            self._draining = True  # the connection closes after this answer
        self.watch.add(self)

    def turn_away(self) -> None:
        """Refuses a connection beyond the limit with a problem document."""
        self.watch.refuse(self)
        self.transport.write(closing_answer(too_many_connections()))
        self._close(drained=not self.watch.may_linger)

    def on_body(self, body: bytes) -> None:
        """Takes a part of the body."""
        if self._exchange is not None:
            self._exchange.add_body(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Records the end of the request."""
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

    def send(self, exchange: Exchange, status: int, content_type: bytes, body: Content, headers: Headers) -> None:
        """Writes the answer to a direct request."""
        self._unanswered.discard(exchange)
        transport = self.transport
        if transport.is_closing():
            return
        length = sum(map(len, body)) if isinstance(body, tuple) else len(body)
        default = self.server_state.default_headers
        keep_alive = exchange.keep_alive
        parts = self._heads.head(default, status, content_type, exchange.request_id, length, headers, keep_alive)
        if isinstance(body, tuple):  # not joined: copying tens of megabytes takes as many milliseconds
            transport.writelines([b"".join(parts), *body])
        else:
            parts.append(body)
            transport.write(b"".join(parts))
        self.server_state.total_requests += 1
        if not keep_alive:
            self._close(drained=exchange.complete)
        elif self.pipeline:
            self._reads_next = True
            self.loop.call_soon(self._open_next)
        elif exchange.body_is_held and self._exchange is exchange:
            self.loop.call_later(exchange.pause_seconds, self._read_rest, exchange)
        elif exchange.complete or exchange.body_is_held:
            exchange.body_is_held = False
            self._become_idle()
            if exchange.pause_seconds:
                self._pause(exchange, exchange.pause_seconds)
            elif self.flow.read_paused and not self.flow.write_paused:
                self.flow.resume_reading()

    def _read_refused_body(self) -> None:
        """Reads and drops the rest of a refused body."""
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _read_rest(self, exchange: Exchange) -> None:
        """Reads and drops the rest of a body that was refused while held, on a connection that stays open."""
        if self._exchange is exchange and not self.transport.is_closing():
            exchange.body_is_held = False
            self.since = self.watch.now  # from here on, the client has to send
            if not self.flow.write_paused:
                self.flow.resume_reading()

    def _pause(self, exchange: Exchange, seconds: float) -> None:
        """Reads nothing of the connection for a time after the answer to a request."""
        if not self.transport.is_closing():
            self.flow.pause_reading()
            self.loop.call_later(seconds, self._end_pause, exchange)

    def _end_pause(self, exchange: Exchange) -> None:
        """Resumes reading after the pause, unless a later body is held."""
        if self._exchange is not None and self._exchange is not exchange and self._exchange.body_is_held:
            return
        if not self.transport.is_closing() and not self.flow.write_paused and not self.pipeline:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        """Stops reading, since the client does not read its answers."""
        super().pause_writing()
        self.flow.pause_reading()
        self._client.begin_unread()

    def resume_writing(self) -> None:
        """Resumes reading, since the client has read its answers."""
        super().resume_writing()
        if self._reads_next:
            self._open_next()
        elif not self.pipeline:
            self.flow.resume_reading()

    def reads(self) -> bool:
        """Returns False if the client does not read its answers or is known to have gone."""
        client = self._client
        if client.half_closed:
            if client.has_gone():
                return False
            if client.wants_probe() and self._may_be_told_to_continue():
                self.transport.write(_CONTINUE)
        return client.reads()

    def _may_be_told_to_continue(self) -> bool:
        """Returns True if an interim response may be sent: the client uses HTTP/1.1 and waits for an answer."""
        begun = getattr(self.cycle, "response_started", False)
        return self._is_busy() and not begun and self.parser.get_http_version() == "1.1"

    def hold_reading(self) -> None:
        """Stops reading until `release_reading`."""
        self._held_since = self.watch.now
        self.flow.pause_reading()

    def release_reading(self) -> None:
        """Resumes reading, unless another reason to pause remains."""
        # The time while reading was held does not count against the client.
        self.since += self.watch.now - max(self.since, self._held_since)
        if not self.pipeline and not self.flow.write_paused:
            self.flow.resume_reading()

    def ask_for_body(self) -> None:
        """Sends `100 Continue`."""
        if not self.transport.is_closing():
            self.transport.write(_CONTINUE)

    def on_response_complete(self) -> None:
        """Records the answer to an ASGI request."""
        super().on_response_complete()
        if self.phase == Phase.HANDLING and not self.pipeline and self.cycle.response_complete:
            self._become_idle()

    def timed_out(self) -> None:
        """Ends a phase that has taken too long. The watch calls this method."""
        if not self.reads():
            self.transport.abort()  # closing would wait until the client reads
        elif self.phase == Phase.IDLE and self.transport.get_write_buffer_size():
            self.since = self.watch.now  # not idle: the client is still reading
        elif self.phase in (Phase.IDLE, Phase.LINGERING) or (self.phase == Phase.HEAD and not self._head_bytes):
            self.transport.close()
        elif self._exchange is not None and (self._exchange.body_is_held or not self._exchange.opened):
            self.since = self.watch.now  # reading is paused until its turn: not the client's fault
        elif self.phase in (Phase.HEAD, Phase.BODY) and self._client.came_in_time(self.since):
            pass  # this process is slow, not the client; the next check decides
        elif self._exchange is not None and not self._exchange.response_complete:
            self._exchange.refuse(too_slow("body", self.watch.limits.body_seconds))
        elif self.phase == Phase.HEAD:
            self.send_problem(too_slow("head", self.watch.limits.header_seconds))
        else:
            self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Refuses bytes that are not HTTP."""
        self.send_problem(bad_request(msg))

    def send_problem(self, problem: Problem) -> None:
        """Sends a problem document for an incomplete or invalid request, after all earlier answers, and closes."""
        if self.transport.is_closing() or self.phase == Phase.LINGERING:
            return
        if self._exchange is not None and not self._exchange.response_complete:
            self._exchange.refuse(problem)  # the problem is in the body of this request
        elif self._is_busy():
            self.phase, self._final_problem = Phase.HANDLING, problem
        else:
            self.transport.write(closing_answer(problem))
            self._close(drained=False)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        """Starts a request of the pipeline, direct or ASGI."""
        if isinstance(cycle, Exchange):
            self._reads_next = True
            self.pipeline.append((cycle, app))  # type: ignore[arg-type]
            self.loop.call_soon(self._open_next)
        else:
            super()._start_asgi_task(cycle, app)

    def _open_next(self) -> None:
        """Opens the next request of the pipeline; called by the event loop, so that the calls do not nest."""
        if self.flow.write_paused and not self.transport.is_closing():
            return  # the client does not read its answers; `resume_writing` continues
        if not self._reads_next:
            return
        self._reads_next = False
        if not self.pipeline or self.transport.is_closing():
            return
        cycle, app = self.pipeline.pop()
        self.since = self.watch.now
        if isinstance(cycle, Exchange):
            cycle.open()
            cycle.ask_for_body()
        else:
            super()._start_asgi_task(cycle, app)
        is_held = isinstance(cycle, Exchange) and cycle.body_is_held
        if not self.pipeline and not is_held and not self.transport.is_closing():
            self.flow.resume_reading()  # the rest of its body may be yet to come

    def _become_idle(self) -> None:
        """Waits for the next request, or closes the connection if no more requests are allowed."""
        if self._final_problem is not None:
            self.transport.write(closing_answer(self._final_problem))
            self._close(drained=False)
            return
        if self._draining or self._client.half_closed:
            self._close(drained=True)
            return
        self.phase, self.since = Phase.IDLE, self.watch.now

    def _close(self, *, drained: bool) -> None:
        """Closes the connection after the last answer.

        Args:
            drained: True if all bytes of the client were read. With unread bytes, the kernel would send a reset, which
                may reach the client before the answer; then the connection lingers first.
        """
        if drained or self._client.half_closed:
            self.transport.close()
            return
        self.phase, self.since = Phase.LINGERING, self.watch.now
        self.watch.add(self)
        if isinstance(self.cycle, Exchange) and self.cycle.body_is_held:
            # A client that has read its refusal hangs up. To read and drop a large body costs as much as to read it.
            self.loop.call_later(_REFUSED_BODY_SECONDS, self._read_refused_body)
        else:
            self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
