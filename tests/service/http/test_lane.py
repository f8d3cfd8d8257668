"""The lane and a connection: which bytes go to the lane, and the end of each request in the lane."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from echo_service import Service, get, post, read, wait_until

from service.http.connection_watch import Phase
from service.http.exchange import NO_PARAMETERS, Exchange


class Place:
    """The place of a request that the lane has taken."""

    def __init__(self, lane: Lane, connection: Any) -> None:
        self.lane = lane
        self.connection = connection
        self.is_pending = False
        self.part = b""
        self.exchange: Exchange | None = None
        self.body = b""

    def as_usual(self) -> Exchange:
        if self.exchange is None:
            headers = [(b"host", b"x")]
            self.exchange = Exchange(self.connection, self.lane.echo, headers, dict(headers), keep_alive=True)
            self.exchange.opened = self.exchange.complete = True
            self.exchange.parameters, self.exchange.request_id = NO_PARAMETERS, b"id"
            self.connection.adopt(self.exchange)
        return self.exchange


class Lane:
    """A lane that takes whole requests with a body between angle brackets, and answers when a test says so."""

    def __init__(self, echo: Any) -> None:
        self.echo = echo
        self.asked: list[bytes] = []
        self.learned: list[bytes] = []
        self.taken: list[Place] = []
        self.answers_at_once = True

    def place(self, connection: Any) -> Place:
        return Place(self, connection)

    def learn(self, data: bytes, exchange: Exchange) -> None:
        self.learned.append(data)

    def take_rest(self, place: Place, data: bytes) -> bool:
        return self.take(place, data)

    def take(self, place: Place, data: bytes) -> bool:
        self.asked.append(data)
        if re.fullmatch(rb"POST /echo HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n(<[^<>]*)?", data):
            place.part, place.connection.phase = data, Phase.BODY
            return True
        found = re.fullmatch(rb"POST /echo HTTP/1\.1\r\n(?:[^\r\n]+\r\n)+\r\n(<[^<>]*>)", data)
        if found is None:
            return False
        place.is_pending, place.exchange, place.body = True, None, found[1]
        place.connection.phase = Phase.HANDLING
        self.taken.append(place)
        if self.answers_at_once:
            self.answer()
        return True

    def answer(self) -> None:
        """Answers all requests as the lane of predictions does."""
        taken, self.taken = self.taken, []
        for place in taken:
            place.is_pending = False
            if place.exchange is not None:
                place.exchange.respond(200, b"text/plain", place.body)
            else:
                place.connection.transport.write(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(place.body) + place.body
                )
                place.connection.phase, place.connection.since = Phase.IDLE, place.connection.watch.now


@pytest.fixture
def lane(service: Service) -> Lane:
    """The lane of the service."""
    service.app.direct.lane = lane = Lane(service.app.echo)
    return lane


def answer(service: Service, lane: Lane) -> None:
    """Answers the requests in the lane, in the thread of the event loop."""
    service.loop.call_soon_threadsafe(lane.answer)


@contextmanager
def waiting_in(lane: Lane, service: Service) -> Iterator[socket.socket]:
    """Returns a connection whose request `<1>` waits in the lane."""
    lane.answers_at_once = False
    with service.connect() as stream:
        stream.sendall(post(b"<0>"))
        read(stream, ends_with(b"<0>"))
        stream.sendall(post(b"<1>"))
        wait_until(lambda: len(lane.taken) == 1)
        yield stream


def ends_with(text: bytes) -> Callable[[bytes], bool]:
    return lambda data: data.endswith(text)


def test_the_first_request_of_a_connection_is_learned_from_and_the_next_goes_to_the_lane(
    service: Service, lane: Lane
) -> None:
    with service.connect() as stream:
        for number in range(3):
            stream.sendall(post(b"<%d>" % number))
            assert read(stream, ends_with(b"<%d>" % number)).startswith(b"HTTP/1.1 200 OK")
    assert lane.learned == [post(b"<0>")]
    assert lane.asked == [post(b"<1>"), post(b"<2>")]
    assert service.app.echo.begun == 1


def test_after_a_part_of_a_head_the_lane_is_not_asked(service: Service, lane: Lane) -> None:
    """Asks with bytes that look like a request, and are the rest of a head."""
    with service.connect() as stream:
        stream.sendall(post(b"<1>") + b"POST /echo HTTP/1.1\r\nX-Rest: ")
        read(stream, ends_with(b"<1>"))
        stream.sendall(post(b"<2>"))  # the value of X-Rest begins so
        received = read(stream, ends_with(b"<2>"))
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert lane.asked == []
    assert service.app.echo.begun == 2


def test_a_body_may_come_behind_its_head(service: Service, lane: Lane) -> None:
    with service.connect() as stream:
        stream.sendall(post(b"<0>"))
        read(stream, ends_with(b"<0>"))
        whole = post(b"<1>")
        stream.sendall(whole[:-3])
        wait_until(lambda: lane.asked == [whole[:-3]])
        stream.sendall(whole[-3:])
        assert read(stream, ends_with(b"<1>")).startswith(b"HTTP/1.1 200 OK")
    assert lane.asked == [whole[:-3], whole]
    assert service.app.echo.begun == 1


def test_a_body_that_never_comes_is_refused_in_time(make_service: Callable[..., Service]) -> None:
    service = make_service(body_seconds=1)
    service.app.direct.lane = Lane(service.app.echo)
    with service.connect() as stream:
        stream.sendall(post(b"<0>"))
        read(stream, ends_with(b"<0>"))
        stream.sendall(post(b"<1>")[:-1])
        received = read(stream)
    assert received.startswith(b"HTTP/1.1 408 ")
    assert service.app.echo.begun == 2, "the endpoint has refused it"


@pytest.mark.parametrize("shut", [True, False])
def test_a_client_that_ends_within_a_body_is_told_so(service: Service, lane: Lane, shut: bool) -> None:
    with service.connect() as stream:
        stream.sendall(post(b"<0>"))
        read(stream, ends_with(b"<0>"))
        stream.sendall(post(b"<1>")[:-1])
        wait_until(lambda: len(lane.asked) == 1)
        if shut:
            stream.shutdown(1)
            assert read(stream).startswith(b"HTTP/1.1 400 ")
    wait_until(lambda: service.app.echo.begun == 2)


def test_requests_behind_one_in_the_lane_are_answered_after_it(service: Service, lane: Lane) -> None:
    with waiting_in(lane, service) as stream:
        stream.sendall(post(b"<2>") + get(b"/<3>"))
        wait_until(lambda: lane.taken[0].exchange is not None)
        answer(service, lane)
        received = read(stream, ends_with(b"<3>"))
        assert [int(part[:1]) for part in received.split(b"<")[1:]] == [1, 2, 3]
        stream.sendall(post(b"<4>"))
        wait_until(lambda: len(lane.taken) == 1)
        answer(service, lane)
        assert read(stream, ends_with(b"<4>")).count(b"HTTP/1.1 200 OK") == 1


def test_a_client_that_closes_its_side_gets_the_answer_and_the_end(service: Service, lane: Lane) -> None:
    with waiting_in(lane, service) as stream:
        stream.shutdown(1)
        wait_until(lambda: lane.taken[0].exchange is not None)
        answer(service, lane)
        received = read(stream)
    assert received.endswith(b"<1>")
    assert b"connection: close" in received


def test_a_client_that_has_gone_ends_its_request(service: Service, lane: Lane) -> None:
    with waiting_in(lane, service):
        pass
    wait_until(lambda: lane.taken[0].exchange is not None)
    answer(service, lane)
    wait_until(lambda: not lane.taken)
    with service.connect() as stream:
        stream.sendall(post(b"<2>", close=True))
        assert read(stream).endswith(b"<2>")


def test_a_server_that_stops_answers_what_is_in_the_lane(service: Service, lane: Lane) -> None:
    with waiting_in(lane, service) as stream:
        service.server.should_exit = True
        wait_until(lambda: lane.taken[0].exchange is not None)
        answer(service, lane)
        received = read(stream)
    assert received.endswith(b"<1>")
    assert b"connection: close" in received
