"""The relay turns any bytes from its pipe into JSON lines, and ends after its writers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from service import log_relay

END_SECONDS = 10


@contextmanager
def relay(output: Path, form: str = "json") -> Iterator[int]:
    """Runs a relay as the server does; yields the write end of the relay's pipe."""
    read, write = os.pipe()
    counter = os.memfd_create("counter")
    os.truncate(counter, log_relay.COUNTER_BYTES)
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", log_relay.__file__, form, str(counter)],
            stdin=read,
            stderr=file,
            pass_fds=[counter],
        )
    os.close(read)
    os.close(counter)
    try:
        yield write
    finally:
        os.close(write)
        assert process.wait(END_SECONDS) == 0


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def events(output: Path) -> list[Any]:
    lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    assert all(isinstance(line, dict) for line in lines)
    return [line["event"] for line in lines]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (b'{"event": "ours"}\nplain\n', ["ours", "plain"]),
        (b'{"event": "x", "value": NaN}\n', ['{"event": "x", "value": NaN}']),
        (b'{"event": "torn\n{"event": "whole"}\n', ['{"event": "torn', "whole"]),
        (b"[1, 2]\n17\nnull\n{}x\n", ["[1, 2]", "17", "null", "{}x"]),
        (b"\xff\x00\x1b[31m\r\n", ["\\xff\x00\x1b[31m"]),
        (b"\n\n  \nlast, without an end", ["last, without an end"]),
        ("Größe ✓\n".encode(), ["Größe ✓"]),
    ],
)
def test_every_line_becomes_an_object(tmp_path: Path, written: bytes, expected: list[str]) -> None:
    with relay(tmp_path / "log") as pipe:
        write_all(pipe, written)
    assert events(tmp_path / "log") == expected


def test_a_line_without_an_end_is_cut_and_not_kept(tmp_path: Path) -> None:
    size = 5 << 20
    with relay(tmp_path / "log") as pipe:
        write_all(pipe, b"x" * size)
    assert sum(map(len, events(tmp_path / "log"))) == size
    assert len(events(tmp_path / "log")) >= 4


def test_the_servers_last_line_ends_the_relay_while_others_could_still_write(tmp_path: Path) -> None:
    read, write = os.pipe()
    with (tmp_path / "log").open("wb") as file, (tmp_path / "counter").open("w+b") as counter:
        counter.truncate(log_relay.COUNTER_BYTES)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", log_relay.__file__, "json", str(counter.fileno())],
            stdin=read,
            stderr=file,
            pass_fds=[counter.fileno()],
        )
        write_all(write, b'{"event": "stopped"}\n' + log_relay.END_LINE + b"\n")
        assert process.wait(END_SECONDS) == 0
    os.close(read)
    os.close(write)
    assert events(tmp_path / "log") == ["stopped"]


def test_the_console_gets_lines_as_they_are(tmp_path: Path) -> None:
    with relay(tmp_path / "log", "console") as pipe:
        write_all(pipe, b"2026 [info] hello\n\n{x\n")
    assert (tmp_path / "log").read_bytes() == b"2026 [info] hello\n\n{x\n"


def test_a_deeply_nested_line_does_not_end_the_relay(tmp_path: Path) -> None:
    with relay(tmp_path / "log") as pipe:
        write_all(pipe, b'{"a":' * 50_000 + b"\nafter\n")
    assert events(tmp_path / "log")[-1] == "after"
