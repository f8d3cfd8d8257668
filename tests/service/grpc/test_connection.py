"""HTTP/2 connections of the gRPC door, with frames made by hand, and with h2, the implementation of other people."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from grpc_client import grpc
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import wait_until

from service.grpc import frames
from service.grpc.connection import GrpcConnection
from service.grpc.connection_watch import ConnectionWatch, GrpcLimits
from service.grpc.frames import END_HEADERS, END_STREAM, PREFACE, frame
from service.grpc.methods import Methods, fail
from service.grpc.stream import Stream
from service.stream.frames import Buffer

PATH = b"/test.Service/Echo"
LIMITS = GrpcLimits(
    header_seconds=0.6,
    body_seconds=0.6,
    idle_seconds=30,
    max_connections=20,
    max_body_bytes=3_000_000,
    max_buffered_bytes=8_000_000,
)
HEAD = b"".join(
    frames.field(name, value)
    for name, value in (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", PATH),
        (b"content-type", b"application/grpc"),
        (b"te", b"trailers"),
    )
)


class Echo:
    """A method that answers with the message `repeats` times; a message `hold` waits for its cancellation."""

    takes_many = False

    def __init__(self) -> None:
        self.cancelled_calls = 0
        self.held: list[Stream] = []
        self.failures: list[Exception] = []

    def handle(self, stream: Stream, message: Buffer, *, is_compressed: bool) -> None:
        stream.release()
        if bytes(message) == b"hold":
            stream.call = self
            self.held.append(stream)
        elif bytes(message[:4]) == b"many":
            stream.answer(bytes(message) * 100_000, frames.OK_TRAILERS)
        else:
            stream.answer(bytes(message), frames.OK_TRAILERS)

    def cancelled(self) -> None:
        self.cancelled_calls += 1

    def end(self, stream: Stream) -> None:
        pass

    def refuse(self, stream: Stream, error: Exception) -> None:
        self.failures.append(error)
        fail(stream, error)


class EchoServer:
    """Connections of the door on an event loop in a thread."""

    def __init__(self, limits: GrpcLimits = LIMITS) -> None:
        self.method = Echo()
        self.lost: list[str] = []
        started = threading.Event()
        self._limits = limits
        self._thread = threading.Thread(target=lambda: uvloop.run(self._serve(started)))
        self._thread.start()
        assert started.wait(10)

    async def _serve(self, started: threading.Event) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.lost.append(repr(context)))
        self._stop = asyncio.Event()
        self.watch = ConnectionWatch(self._limits)
        methods = Methods({PATH.decode(): (self.method, None)}, None)
        server = await self.loop.create_server(lambda: GrpcConnection(methods, self.watch), "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stop.wait()
        server.close()
        await self.watch.finish(1)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        assert not self.lost
        assert self.watch.held.now == 0, "no byte is counted for good"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def run(self, function: Callable[[], object]) -> None:
        """Runs a function on the event loop."""
        self.loop.call_soon_threadsafe(function)


@pytest.fixture(scope="module")
def server() -> Iterator[EchoServer]:
    server = EchoServer()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_failures(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    yield
    assert "a gRPC connection failed" not in caplog.text


def message(text: bytes) -> bytes:
    return struct.pack(">BI", 0, len(text)) + text


def call(id_: int, text: bytes) -> bytes:
    """Returns the frames of a small call."""
    return frame(frames.HEADERS, END_HEADERS, id_, HEAD) + frame(frames.DATA, END_STREAM, id_, message(text))


Frame = tuple[int, int, int, bytes]


def read_frames(stream: socket.socket, until: Callable[[Frame], bool]) -> list[Frame]:
    """Reads frames up to one that fulfils a condition, or up to the end."""
    found: list[Frame] = []
    file = stream.makefile("rb")
    while head := file.read(9):
        word, flags, id_ = struct.unpack(">IBI", head)
        found.append((word & 0xFF, flags, id_, file.read(word >> 8)))
        if until(found[-1]):
            break
    return found


def until_end_of(id_: int) -> Callable[[Frame], bool]:
    return lambda frame_: frame_[2] == id_ and bool(frame_[1] & END_STREAM) and frame_[0] == frames.HEADERS


def goaway(found: list[Frame]) -> tuple[int, bytes]:
    """Returns the error code and the reason of the GOAWAY among some frames."""
    [payload] = [payload for kind, _, _, payload in found if kind == frames.GOAWAY][-1:]
    return struct.unpack(">I", payload[4:8])[0], payload[8:]


def never(_: Frame) -> bool:
    return False


def body_of(found: list[Frame], id_: int) -> bytes:
    return b"".join(payload for kind, _, stream, payload in found if kind == frames.DATA and stream == id_)


@pytest.mark.parametrize("size", [1, 3, 10, 1000])
def test_frames_may_come_in_pieces_of_any_size(server: EchoServer, size: int) -> None:
    data = PREFACE + frames.settings() + call(1, b"one") + call(3, b"two" * 100)
    with server.connect() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(data), size):
            stream.sendall(data[at : at + size])
        found = read_frames(stream, until_end_of(3))
    assert body_of(found, 1) == message(b"one")
    assert body_of(found, 3) == message(b"two" * 100)


def test_a_message_may_come_in_many_frames_with_padding_and_continuations(server: EchoServer) -> None:
    text = bytes(range(256)) * 20
    whole = message(text)
    parts = [whole[at : at + 700] for at in range(0, len(whole), 700)]
    with server.connect() as stream:
        stream.sendall(
            PREFACE
            + frames.settings()
            + frame(frames.HEADERS, frames.PADDED | frames.HAS_PRIORITY, 1, b"\x04" + bytes(5) + HEAD[:20] + bytes(4))
            + frame(frames.CONTINUATION, 0, 1, HEAD[20:40])
            + frame(frames.CONTINUATION, END_HEADERS, 1, HEAD[40:])
            + b"".join(frame(frames.DATA, frames.PADDED, 1, b"\x09" + part + bytes(9)) for part in parts)
            + frame(frames.DATA, END_STREAM, 1)
        )
        found = read_frames(stream, until_end_of(1))
    assert body_of(found, 1) == whole


@pytest.mark.parametrize("window", [10, 1000, 65_535, 10_000_000])
def test_answers_keep_to_the_windows_of_the_client(server: EchoServer, window: int) -> None:
    """Checks that an answer of 400 kB (4 kB for the least window) comes in parts that the client has allowed."""
    h2_connection = pytest.importorskip("h2.connection", reason="takes h2")
    h2_config = pytest.importorskip("h2.config")
    events = pytest.importorskip("h2.events")
    client = h2_connection.H2Connection(h2_config.H2Configuration(client_side=True, header_encoding=None))
    h2_settings = pytest.importorskip("h2.settings")
    initial = {h2_settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
    client.local_settings = h2_settings.Settings(client=True, initial_values=initial)
    client.initiate_connection()
    text = b"many" if window > 10 else b"a" * 4000
    expected = message(text * 100_000 if window > 10 else text)
    received = b""
    with server.connect() as stream:
        client.send_headers(
            1,
            [
                (b":method", b"POST"),
                (b":scheme", b"http"),
                (b":authority", b"x"),
                (b":path", PATH),
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
            ],
        )
        client.send_data(1, message(text), end_stream=True)
        stream.sendall(client.data_to_send())
        ended = False
        while not ended:
            for event in client.receive_data(stream.recv(65_536)):  # h2 raises if a window is exceeded
                if isinstance(event, events.DataReceived):
                    received += event.data
                    client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                ended = ended or isinstance(event, events.StreamEnded)
                assert not isinstance(event, events.ConnectionTerminated)
            stream.sendall(client.data_to_send())
    assert received == expected


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(frames.DATA, 0, 1, b"x"), frames.STREAM_CLOSED),
        (frame(frames.HEADERS, END_HEADERS, 2, HEAD), frames.PROTOCOL_ERROR),
        (frame(frames.HEADERS, END_HEADERS, 0, HEAD), frames.PROTOCOL_ERROR),
        (frame(frames.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"), frames.COMPRESSION_ERROR),
        (frame(frames.HEADERS, 0, 1, HEAD) + frame(frames.PING, 0, 0, bytes(8)), frames.PROTOCOL_ERROR),
        (frame(frames.CONTINUATION, END_HEADERS, 1, HEAD), frames.PROTOCOL_ERROR),
        (frame(frames.HEADERS, frames.PADDED, 1, b"\xff" + HEAD), frames.PROTOCOL_ERROR),
        (frame(frames.HEADERS, frames.HAS_PRIORITY, 1, b"ab"), frames.FRAME_SIZE_ERROR),
        (frame(frames.PING, 0, 0, b"short"), frames.FRAME_SIZE_ERROR),
        (frame(frames.SETTINGS, 0, 0, b"odd"), frames.FRAME_SIZE_ERROR),
        (frames.settings((frames.INITIAL_WINDOW_SIZE, 2**31)), frames.FLOW_CONTROL_ERROR),
        (frames.settings((frames.MAX_FRAME_SIZE, 1)), frames.PROTOCOL_ERROR),
        (frames.window_update(0, 2**31 - 1), frames.FLOW_CONTROL_ERROR),
        (frames.window_update(0, 0), frames.PROTOCOL_ERROR),
        (frames.window_update(9, 1), frames.PROTOCOL_ERROR),
        (frames.reset(9, 0), frames.PROTOCOL_ERROR),
        (frame(frames.PUSH_PROMISE, END_HEADERS, 1, bytes(8)), frames.PROTOCOL_ERROR),
        (struct.pack(">IBI", 1 << 24 | frames.DATA, 0, 1), frames.FRAME_SIZE_ERROR),
        (frame(frames.PING, 0, 0, bytes(8)) * 3000, frames.ENHANCE_YOUR_CALM),
        (frames.settings() * 3000, frames.ENHANCE_YOUR_CALM),
        (frame(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 0, 1) * 3000, frames.ENHANCE_YOUR_CALM),
        (
            frame(frames.HEADERS, 0, 1, HEAD) + frame(frames.CONTINUATION, 0, 1, bytes(9000)) * 2,
            frames.ENHANCE_YOUR_CALM,
        ),
        (frame(frames.HEADERS, END_HEADERS, 1, HEAD) + frame(frames.DATA, 0, 1) * 3000, frames.ENHANCE_YOUR_CALM),
        (
            b"".join(
                frame(frames.HEADERS, END_HEADERS, id_, HEAD) + frames.reset(id_, frames.CANCEL)
                for id_ in range(1, 6001, 2)
            ),
            frames.ENHANCE_YOUR_CALM,
        ),
        (
            frame(frames.HEADERS, END_HEADERS, 1, HEAD) + frame(frames.DATA, 0, 1, bytes(16_384)) * 5,
            frames.FLOW_CONTROL_ERROR,
        ),
    ],
)
def test_a_breach_of_the_protocol_ends_the_connection_with_its_code(server: EchoServer, data: bytes, code: int) -> None:
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + data)
        assert goaway(read_frames(stream, never))[0] == code


def test_a_faulty_request_ends_its_stream_alone(server: EchoServer) -> None:
    bad = frames.field(b":method", b"POST") * 2 + frames.field(b":path", PATH)
    get = frames.field(b":method", b"GET") + frames.field(b":path", b"/")
    json = frames.field(b":method", b"POST") + frames.field(b":path", PATH)
    with server.connect() as stream:
        stream.sendall(
            PREFACE
            + frames.settings()
            + frame(frames.HEADERS, END_HEADERS, 1, bad)
            + frame(frames.HEADERS, END_HEADERS | END_STREAM, 3, get)
            + frame(frames.HEADERS, END_HEADERS | END_STREAM, 5, json)
            + frame(frames.HEADERS, END_HEADERS | END_STREAM, 7, HEAD)
            + frame(frames.HEADERS, END_HEADERS, 9, HEAD)
            + frame(frames.DATA, END_STREAM, 9, b"\x00\x00\x00\x00\x09half")
            + frame(frames.HEADERS, END_HEADERS, 11, HEAD)
            + frame(frames.DATA, 0, 11, b"\x00\x7f\xff\xff\xff")
            + call(13, b"good")
        )
        found = read_frames(stream, until_end_of(13))
    heads = {id_: payload for kind, _, id_, payload in found if kind == frames.HEADERS and id_ < 13}
    assert frames.reset(1, frames.PROTOCOL_ERROR)[9:] in [
        payload for kind, _, id_, payload in found if (kind, id_) == (frames.RST_STREAM, 1)
    ]
    assert heads[3] == frames.http_error(405)
    assert heads[5] == frames.http_error(415)
    for id_, status in ((7, b"3"), (9, b"3"), (11, b"8")):
        assert frames.field(b"grpc-status", status) in heads[id_]
    assert body_of(found, 13) == message(b"good")


def test_a_cancelled_or_lost_call_is_told(server: EchoServer) -> None:
    before = server.method.cancelled_calls
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + call(1, b"hold") + call(3, b"hold") + call(5, b"x"))
        read_frames(stream, until_end_of(5))
        stream.sendall(frames.reset(1, frames.CANCEL))
        wait_until(lambda: server.method.cancelled_calls == before + 1)
    wait_until(lambda: server.method.cancelled_calls == before + 2)


def test_a_slow_message_is_refused_and_a_silent_client_let_go(server: EchoServer) -> None:
    with server.connect() as slow, server.connect() as silent:
        slow.sendall(PREFACE + frames.settings() + call(1, b"x") + frame(frames.HEADERS, END_HEADERS, 3, HEAD))
        found = read_frames(slow, until_end_of(3))
        assert any(frames.field(b"grpc-status", b"4") in payload for *_, id_, payload in found if id_ == 3)
        read_frames(silent, never)


def announced(id_: int) -> bytes:
    """Returns the frames that announce a message of 3 MB."""
    head = struct.pack(">BI", 0, 3_000_000)
    return frame(frames.HEADERS, END_HEADERS, id_, HEAD) + frame(frames.DATA, 0, id_, head)


def test_large_messages_are_bounded_together(server: EchoServer) -> None:
    """Announces three messages of 3 MB where 8 MB may be held; the third is refused before its bytes come."""
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + announced(1) + announced(3))
        read_frames(stream, lambda frame_: frame_[:3] == (frames.WINDOW_UPDATE, 0, 3))
        for id_ in (1, 3):
            for _ in range(180):
                stream.sendall(frame(frames.DATA, 0, id_, bytes(16_000)))
        stream.sendall(announced(5))
        found = read_frames(stream, until_end_of(5))
        assert any(frames.field(b"grpc-status", b"8") in payload for *_, id_, payload in found if id_ == 5)
    wait_until(lambda: server.watch.held.now == 0)


def test_large_messages_that_were_announced_at_once_are_bounded_too(server: EchoServer) -> None:
    """Announces three messages of 3 MB where 8 MB may be held, and sends the bytes only then."""
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + announced(1) + announced(3) + announced(5))
        read_frames(stream, lambda frame_: frame_[:3] == (frames.WINDOW_UPDATE, 0, 5))
        for id_ in (1, 3, 5):
            for _ in range(187):
                stream.sendall(frame(frames.DATA, 0, id_, bytes(16_000)))
        found = read_frames(stream, until_end_of(5))
        assert any(frames.field(b"grpc-status", b"8") in payload for *_, id_, payload in found if id_ == 5)
        assert server.watch.held.now < LIMITS.max_buffered_bytes
    wait_until(lambda: server.watch.held.now == 0)


def test_connections_beyond_the_limit_are_turned_away() -> None:
    server = EchoServer(GrpcLimits(**{**vars(LIMITS), "max_connections": 2, "header_seconds": 30}))
    try:
        with server.connect() as one, server.connect() as two:
            for stream in (one, two):
                stream.sendall(PREFACE + frames.settings() + call(1, b"x"))
                read_frames(stream, until_end_of(1))
            with server.connect() as three:
                assert goaway(read_frames(three, never))[1] == b"too many connections"
        wait_until(lambda: _answers(server))
    finally:
        server.close()


def _answers(server: EchoServer) -> bool:
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + call(1, b"x"))
        return body_of(read_frames(stream, until_end_of(1)), 1) == message(b"x")


def test_a_drained_connection_answers_what_was_sent_before_the_goaway() -> None:
    server = EchoServer()
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + call(1, b"hold") + call(3, b"x"))
        read_frames(stream, until_end_of(3))
        server.run(server.watch.drain)
        [*_, (_, _, _, payload)] = read_frames(stream, lambda frame_: frame_[0] == frames.PING)
        stream.sendall(call(5, b"sent before the client saw it") + frame(frames.PING, frames.ACK, 0, payload))
        found = read_frames(stream, lambda frame_: frame_[0] == frames.GOAWAY)
        assert body_of(found, 5) == message(b"sent before the client saw it")
        assert struct.unpack(">I", found[-1][3][:4]) == (5,)
        stream.sendall(call(7, b"too late"))
        held = server.method.held[0]
        server.run(lambda: held.answer(b"held", frames.OK_TRAILERS))
        rest = read_frames(stream, never)
        assert body_of(rest, 1) == message(b"held")
        assert not body_of(rest, 7)
    server.close()


@given(
    st.lists(
        st.one_of(
            st.tuples(
                st.integers(0, 11),
                st.integers(0, 255),
                st.integers(0, 9),
                st.one_of(st.binary(max_size=40), st.just(HEAD), st.just(message(b"text")), st.just(bytes(8))),
            ).map(lambda given_: frame(*given_)),
            st.sampled_from([1, 3, 5, 7]).map(lambda id_: call(id_, b"text")),
            st.binary(max_size=30),
        ),
        max_size=8,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_frames_leave_the_server_in_order(server: EchoServer, parts: list[bytes]) -> None:
    with server.connect() as stream:
        stream.sendall(PREFACE + frames.settings() + b"".join(parts))
        stream.shutdown(socket.SHUT_WR)
        try:
            while stream.recv(65_536):
                pass
        except ConnectionResetError:
            pass
    assert _answers(server)
    assert not server.lost


def test_a_head_is_decoded_anew_after_a_change_of_the_table(server: EchoServer) -> None:
    """Sends heads whose equal bytes differ in meaning: grpcio puts new deadlines and values into the dynamic table."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method = channel.unary_unary(PATH.decode())
        seen = []
        stream_head: list[dict[bytes, bytes]] = []
        handle = server.method.handle

        def record(stream: Stream, text: Any, *, is_compressed: bool) -> None:
            stream_head.append(dict(stream.head.fields))
            handle(stream, text, is_compressed=is_compressed)

        server.method.handle = record  # type: ignore[method-assign]
        try:
            for number in range(60):
                value = f"v{number * number % 7}"
                assert method(b"x", metadata=[("mine", value)], timeout=5 + number % 3) == b"x"
                seen.append(value.encode())
        finally:
            server.method.handle = handle  # type: ignore[method-assign]
    assert [fields[b"mine"] for fields in stream_head] == seen
