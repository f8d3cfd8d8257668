"""Each line of the log is a JSON object, from any writer, and no reader of the log can stop the server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import noisy_service
import pytest
from serving import ROOT, Server, http_get, http_post, metric_sum, parent_of, running, wait_until

from models.store import Store

pytestmark = pytest.mark.slow

BODY: dict[str, Any] = {"model": "colours", "instances": [[0.1, 0.2, 0.3, 0.4]]}
SOON_SECONDS = 5.0
LINES_BEYOND_ALL_BUFFERS = (
    4500  # lines of more than 350 bytes; the buffers are 64 KiB in the pipe and 1 MiB in the relay
)


class NoisyServer(Server):
    """`noisy_service.py` over a store, on a free port."""

    command = ("-m", "tests.e2e.noisy_service")


def log_lines(server: Server) -> list[dict[str, Any]]:
    """Returns the log's lines, and checks that each is an object."""
    lines = [json.loads(line) for line in server.log().splitlines()]
    assert all(isinstance(line, dict) and {"event", "level", "timestamp"} <= line.keys() for line in lines)
    return lines


@contextmanager
def with_unread_log(store: Store, folder: Path, **settings: object) -> Iterator[tuple[Server, int]]:
    """Runs a server whose log nobody reads; yields the server and the read end of its standard error."""
    server = Server(store.root, folder, **settings)
    (folder / "server.log").touch()
    ours, theirs = os.pipe()
    try:
        server.process = subprocess.Popen(
            [sys.executable, *server.command], cwd=ROOT, env=server.environment, stderr=theirs
        )
        os.close(theirs)
        wait_until(server.ready)
        yield server, ours
    finally:
        server.kill()
        os.close(ours)


def ask_often(server: Server, count: int) -> None:
    """Sends requests that each write a long access log line; each has to be answered soon."""
    body = json.dumps(BODY).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nX-Request-ID: %0128d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=SOON_SECONDS) as stream:
        for at in range(count):
            stream.sendall(head % (len(body), at) + body)
            assert stream.recv(1 << 16).startswith(b"HTTP/1.1 200")  # a small answer comes in one piece


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_reader_that_stops_reading_the_log_stops_nothing_and_holds_up_no_stop(
    store: Store, tmp_path: Path, form: str
) -> None:
    with with_unread_log(store, tmp_path, access_log=True, log_format=form, drain_seconds=0) as (server, unread):
        ask_often(server, LINES_BEYOND_ALL_BUFFERS)
        for path in ("live", "ready"):
            assert http_get(f"{server.url}/health/{path}", timeout=SOON_SECONDS).status_code == 200
        dropped = metric_sum(server, "axon_log_lines_dropped_total")
        assert dropped > 0
        read = b""
        while b"were dropped" not in read:  # the message that follows when reading resumes
            read += os.read(unread, 1 << 16)
        lines = read[: read.rindex(b"\n")].splitlines()
        if form == "json":
            told = [line["dropped"] for line in map(json.loads, lines) if "were dropped" in line["event"]]
            assert sum(told) == dropped
        ask_often(server, 1)
        while f"{0:0128}".encode() not in read[-2000:]:  # new lines are written again
            read += os.read(unread, 1 << 16)
        ask_often(server, LINES_BEYOND_ALL_BUFFERS)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < SOON_SECONDS


def test_a_reader_that_is_gone_stops_nothing(store: Store, tmp_path: Path) -> None:
    with with_unread_log(store, tmp_path, access_log=True) as (server, unread):
        os.close(os.dup(unread))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, unread)  # the pipe's last reader closes
        os.close(null)
        ask_often(server, 100)
        server.stop()


def test_each_line_of_the_log_is_an_object_whatever_writes_it(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, kind=NoisyServer) as server:

        def ask(cell: float) -> int:
            return http_post(f"{server.url}/predict", json={"model": "price", "instances": [[cell, 3]]}).status_code

        assert ask(noisy_service.WARNS) == 200
        assert ask(noisy_service.PRINTS) == 200
        assert ask(noisy_service.RAISES_IN_THREAD) == 200
        for _ in range(20):
            assert ask(noisy_service.RAISES) == 500
        assert ask(noisy_service.CRASHES) in (500, 503)
        wait_until(server.ready, server.log)
    lines = log_lines(server)
    events = [line["event"] for line in lines]
    [overflow] = [line for line in lines if "overflow encountered" in line["event"]]
    assert overflow["category"] == "RuntimeWarning"
    assert "of two\nlines" in events
    for printed in ('a print with "quotes"', "native, on standard output", "{'looks': like an object}", "[1]"):
        assert printed in events
    assert any("bytes that are no text" in event for event in events)
    assert any("from C" in event for event in events)
    [raised] = [line for line in lines if line["event"] == "uncaught exception"]
    assert raised["exception"][0]["exc_type"] == "ZeroDivisionError"
    assert any("Segmentation fault" in event for event in events), "the crash of a worker is told"
    # A client causes the message twenty times; one line per minute is logged, in the worker and in the API process.
    assert events.count("forward pass failed") == 1
    assert events.count("request failed") <= 2, "the model's fault, and the crash"
    assert events[-1] == "stopped"


def test_another_relay_takes_over_where_one_dies(store: Store, tmp_path: Path) -> None:
    with running(store.root, tmp_path, access_log=True) as server:

        def relays() -> list[int]:
            assert server.process is not None
            found = [pid for pid, command in server.processes().items() if "log_relay" in command]
            return [pid for pid in found if parent_of(pid) == server.process.pid]

        [relay] = relays()
        os.kill(relay, signal.SIGSTOP)  # the relay is as good as dead, so its pipe fills
        ask_often(server, LINES_BEYOND_ALL_BUFFERS)
        os.kill(relay, signal.SIGKILL)
        wait_until(lambda: bool(relays()) and relays() != [relay], server.log)

        def is_logged() -> bool:
            ask_often(server, 1)
            return f"{0:0128}" in server.log()[-2000:]

        wait_until(is_logged)
    lines = log_lines(server)
    assert lines[-1]["event"] == "stopped"
    assert any("did not take them" in line["event"] for line in lines)
