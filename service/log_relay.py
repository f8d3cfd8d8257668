"""The log relay, a process between the server's log and the reader of the log.

The server's processes write their log into a pipe, and the relay copies it to the real standard error. If the reader
stops reading, it blocks only the relay's writer thread: the relay still empties the pipe, keeps some lines, drops the
rest and counts the dropped lines. A process that crashes leaves its last lines in the pipe, and the relay writes them.
If the log is JSON, a line that is not JSON (a native library's print, a crash report) is wrapped in an object.

Python runs this file by its path, without site packages, so it starts in milliseconds and imports only the standard
library.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import mmap
import os
import select
import signal
import sys
import threading
import time
from collections import deque

END_LINE = b"\0end of log"  # the last line that the main process writes
COUNTER_BYTES = 8  # lines dropped, as an unsigned number, in memory that is shared with the server

_PIPE, _STDERR = 0, 2
_READ_BYTES = 1 << 18
_MAX_WAITING_BYTES = 1 << 20  # lines kept for a reader that stopped reading
_MAX_LINE_BYTES = 1 << 20  # limit for a line without an end
_PARTIAL_SECONDS = 1.0  # a line without an end is written after this time
_GATHER_SECONDS = 0.005  # pause after reading, so that lines gather: a wake-up costs more than a line
_LAST_SECONDS = 0.5  # time to write the waiting lines after the server has ended
_RETRY_SECONDS = 1.0  # pause after a failed write: the disk may be full


class Writer:
    """Writes lines to standard error from a thread of its own, which may block there.

    Args:
        counter: shared memory for the number of dropped lines.
        is_json: True if each line has to be a JSON object.
    """

    def __init__(self, counter: mmap.mmap | None, is_json: bool) -> None:
        self._counter = counter
        self._is_json = is_json
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0  # bytes of `_lines` and of the lines that are being written
        self._dropped = 0
        self._unreported = 0  # dropped lines that no note in the log has counted yet
        self._is_gone = False  # the reader has closed its end
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, lines: bytes) -> None:
        """Queues whole lines; drops and counts the lines if too many bytes wait."""
        with self._changed:
            is_full = self._waiting_bytes + len(lines) > _MAX_WAITING_BYTES and self._waiting_bytes
            if is_full or self._is_gone:
                self._drop(lines)
                return
            self._lines.append(lines)
            self._waiting_bytes += len(lines)
            self._changed.notify_all()

    def drain(self, seconds: float) -> None:
        """Waits until everything is written, for at most `seconds`."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_gone or not (self._waiting_bytes or self._unreported), seconds)

    def _run(self) -> None:
        while not self._is_gone:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._lines or self._unreported))
                unreported = 0 if self._lines else self._unreported
                chunk = self._lines.popleft() if self._lines else b""
            is_written = self._write(self._note(unreported) if unreported else chunk)
            with self._changed:
                self._waiting_bytes -= len(chunk)
                self._unreported -= unreported if is_written else 0
                if not is_written:
                    self._drop(chunk)
                self._changed.notify_all()
            if not is_written and not self._is_gone:
                time.sleep(_RETRY_SECONDS)

    def _write(self, data: bytes) -> bool:
        """Writes all bytes; returns False if that failed."""
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(_STDERR, view) :]
            except BlockingIOError:  # another process that shares the file made it non-blocking
                select.select([], [_STDERR], [])
            except BrokenPipeError:
                self._is_gone = True
                return False
            except OSError:
                return False
        return True

    def _drop(self, lines: bytes) -> None:
        count = lines.count(b"\n")
        self._dropped += count
        self._unreported += count
        if self._counter is not None:
            self._counter[:COUNTER_BYTES] = self._dropped.to_bytes(COUNTER_BYTES, sys.byteorder)

    def _note(self, dropped: int) -> bytes:
        event = "log lines were dropped: nobody read the log"
        if not self._is_json:
            return f"{event} ({dropped})\n".encode()
        return wrapped(event, logger="service.log_relay", dropped=dropped)


class Lines:
    """Cuts the bytes of the pipe into lines.

    Args:
        is_json: True to make each line a JSON object.

    Attributes:
        has_ended: True once the main process has written its last line.
    """

    def __init__(self, is_json: bool) -> None:
        self.has_ended = False
        self._is_json = is_json
        self._partial = b""

    @property
    def is_partial(self) -> bool:
        """True if the last line has no end yet."""
        return bool(self._partial)

    def feed(self, data: bytes) -> bytes:
        """Adds bytes; returns the lines that are complete now."""
        ended, newline, self._partial = (self._partial + data).rpartition(b"\n")
        if END_LINE in ended:
            self.has_ended = True
            ended = ended.replace(END_LINE, b"")
        if len(self._partial) > _MAX_LINE_BYTES:
            return self._formed(ended + newline) + self.end()
        return self._formed(ended + newline)

    def end(self) -> bytes:
        """Returns the last line, which has no end yet, with an end."""
        partial, self._partial = self._partial, b""
        return self._formed(partial + b"\n") if partial else b""

    def _formed(self, lines: bytes) -> bytes:
        if not self._is_json or not lines:
            return lines
        return b"".join(map(_as_object, lines[:-1].split(b"\n")))


def wrapped(event: str, *, logger: str = "stderr", level: str = "warning", **fields: object) -> bytes:
    """Returns a JSON line of the log, in the format of the server's own lines."""
    now = datetime.datetime.now(datetime.UTC).isoformat().replace("+00:00", "Z")
    line = {"event": event, **fields, "level": level, "logger": logger, "timestamp": now}
    return json.dumps(line).encode() + b"\n"


def relay(is_json: bool, counter: mmap.mmap | None) -> None:
    """Copies the pipe to standard error until the server has ended.

    Args:
        is_json: True if each line has to be a JSON object.
        counter: shared memory for the number of dropped lines.
    """
    writer, lines = Writer(counter, is_json), Lines(is_json)
    ready = select.poll()
    ready.register(_PIPE, select.POLLIN)
    is_last = False
    while not is_last and not lines.has_ended:
        if not ready.poll(_PARTIAL_SECONDS * 1000 if lines.is_partial else None):
            writer.add(lines.end())
            continue
        data = os.read(_PIPE, _READ_BYTES)
        is_last = not data
        if formed := lines.feed(data):
            writer.add(formed)
        if len(data) < _READ_BYTES and not (is_last or lines.has_ended):
            time.sleep(_GATHER_SECONDS)
    if rest := lines.end():
        writer.add(rest)
    writer.drain(_LAST_SECONDS)


def _as_object(line: bytes) -> bytes:
    if line[:1] == b"{":
        try:
            json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            pass
        else:
            return line + b"\n"
    text = line.decode(errors="backslashreplace").rstrip("\r")
    return wrapped(text) if text.strip() else b""


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are not JSON


def main(arguments: list[str]) -> None:
    """Runs the relay.

    Args:
        arguments: format of the log, and descriptor of the shared counter.
    """
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)  # a terminal or supervisor signals all processes; the relay ends last
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as name:  # noqa: PTH123 -- pathlib takes 5 ms
        name.write("axon-log-relay")
    form, descriptor = arguments
    counter = mmap.mmap(int(descriptor), COUNTER_BYTES)
    relay(form == "json", counter)
    os._exit(0)  # the writer's thread may be blocked forever


if __name__ == "__main__":
    main(sys.argv[1:])
