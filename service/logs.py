"""Structured logs: one JSON object per line, or text for people; LitServe and uvicorn log in the same format."""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal, TextIO

import structlog

COLOURS_VARIABLE = "SERVICE_LOG_COLOURS"  # set for child processes if the console that they write to has colours
_SILENT_SECONDS = 60.0  # between two lines of one kind that clients can cause
_MAX_KINDS = 1000
_QUIET = {"litserve": logging.WARNING, "uvicorn.access": logging.CRITICAL, "asyncio": logging.WARNING}


def configure_logs(level: str, form: Literal["json", "console"]) -> None:
    """Sends every log line of this process to standard error; a second call replaces the first.

    Args:
        level: least severity that is logged.
        form: format of the lines.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.CallsiteParameterAdder([structlog.processors.CallsiteParameter.PROCESS]),
    ]
    last: list[structlog.typing.Processor]
    if form == "json":
        # Without local variables: they hold clients' rows.
        tracebacks = structlog.processors.ExceptionRenderer(
            structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
        )
        last = [tracebacks, structlog.processors.JSONRenderer()]
    else:
        last = [structlog.dev.ConsoleRenderer(colors=COLOURS_VARIABLE in os.environ)]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = LineHandler()
    handler.setFormatter(formatter)
    handler.addFilter(_is_worth_a_line)
    handler.addFilter(_ForeignLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(least, root.level))
    for name in ("uvicorn", "uvicorn.error"):  # "Started server process" and the like, which Axon logs itself
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Returns False for uvicorn's warning about a request that is not HTTP: noise from clients would fill the disk."""
    return record.msg != "Invalid HTTP request received."


class LineHandler(logging.Handler):
    """A handler that writes each line to standard error by one system call, so that processes' lines do not mix.

    If standard error is the pipe to the log relay, no write blocks. A line is dropped if the pipe has no room for it,
    and the number of dropped lines is written before the next line.

    Attributes:
        dropped: number of lines dropped by this process.
    """

    dropped = 0

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = _descriptor_of(sys.stderr)
        self._unreported = 0  # dropped lines that no line of the log has counted yet
        self._is_torn = False  # the last line was written in part

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
            return
        if self._unreported:
            dropped, self._unreported = self._unreported, 0
            get_logger(__name__).warning("log lines were dropped: the log relay did not take them", dropped=dropped)
        self._write(f"{line}\n".encode(errors="backslashreplace"))

    def _write(self, data: bytes) -> None:
        view = memoryview(b"\n" + data if self._is_torn else data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
                self._is_torn = bool(view)
        except OSError:  # no room, or no reader at the other end
            self._unreported += 1
            LineHandler.dropped += 1


def _descriptor_of(stream: TextIO | None) -> int:
    try:
        return stream.fileno() if stream is not None else 2
    except (OSError, ValueError):
        return 2


class _ForeignLimit(logging.Filter):
    """A filter that passes one line per minute of each kind of line from uvicorn, asyncio and other libraries.

    Clients can often cause such lines, and the libraries log without a limit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds = _Kinds(_SILENT_SECONDS, time.monotonic)

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns True if the record should be written."""
        if not isinstance(record.msg, str):  # a line of Axon, from structlog
            return True
        kind = f"{record.name} {record.levelname} {record.msg[:100].partition(chr(10))[0]}"
        suppressed = self._kinds.take(kind)
        if suppressed:
            record.msg = f"{record.getMessage()} (and {suppressed} more like it)"
            record.args = ()
        return suppressed is not None


def report_the_unexpected() -> None:
    """Logs each warning and uncaught exception of this process and its forks as one line."""
    warned = LimitedLog(get_logger("py.warnings"))

    def show_warning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any
    ) -> None:
        place = f"{filename}:{lineno}"
        warned.warning(str(message), kind=place, category=category.__name__, place=place)

    def uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            get_logger("uncaught").critical("uncaught exception", exc_info=(kind, error, traceback))

    def uncaught_in_thread(about: threading.ExceptHookArgs) -> None:
        if about.exc_value is not None and not isinstance(about.exc_value, SystemExit):
            name = about.thread.name if about.thread is not None else None
            exc_info = (about.exc_type, about.exc_value, about.exc_traceback)
            get_logger("uncaught").critical("uncaught exception", thread=name, exc_info=exc_info)

    def unraisable(about: Any) -> None:
        exc_info = (about.exc_type, about.exc_value, about.exc_traceback)
        get_logger("uncaught").error(about.err_msg or "exception ignored", where=repr(about.object), exc_info=exc_info)

    warnings.showwarning = show_warning
    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable
    faulthandler.enable(_descriptor_of(sys.stderr))
    if sys.stdout is not None:
        with contextlib.suppress(AttributeError, ValueError):
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Returns a logger for an event and named fields: `log.info("worker up", worker=0)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class _Kinds:
    """The number of suppressed lines of each kind since the last written line of that kind."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kinds: dict[str, list[float]] = {}  # by kind: end of the silence, number of suppressed lines

    def take(self, kind: str) -> int | None:
        """Returns the number of lines suppressed before this line, or None if this line is suppressed too."""
        now = self._clock()
        known = self._kinds.get(kind)
        if known is not None and now < known[0]:
            known[1] += 1
            return None
        if known is None and len(self._kinds) >= _MAX_KINDS:
            self._kinds = {kept: entry for kept, entry in self._kinds.items() if now < entry[0]}
            if len(self._kinds) >= _MAX_KINDS:
                return None
        self._kinds[kind] = [now + self._seconds, 0]
        return int(known[1]) if known is not None else 0

    def over(self) -> list[str]:
        """Returns the kinds that have suppressed lines and may be written again."""
        now = self._clock()
        return [kind for kind, (until, suppressed) in list(self._kinds.items()) if suppressed and now >= until]


class LimitedLog:
    """A logger for events that clients can cause; writes at most one line per minute of each kind.

    The first line of a kind is written at once. Later lines are counted, and the next written line has the count as
    `suppressed`. `report_suppressed` writes the counts of kinds that no longer come.

    Args:
        logger: logger that writes the lines.
        seconds: shortest time between two lines of one kind.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        logger: structlog.stdlib.BoundLogger,
        *,
        seconds: float = _SILENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._kinds = _Kinds(seconds, clock)
        self._last: dict[str, tuple[str, str, str]] = {}  # level, event and kind of each kind's last line
        _limited_logs.add(self)

    def info(self, event: str, *, kind: str = "", **fields: Any) -> bool:
        """Writes a line of severity `info`; see `write`."""
        return self.write("info", event, kind, fields)

    def warning(self, event: str, *, kind: str = "", **fields: Any) -> bool:
        """Writes a warning; see `write`."""
        return self.write("warning", event, kind, fields)

    def error(self, event: str, *, kind: str = "", **fields: Any) -> bool:
        """Writes an error; see `write`."""
        return self.write("error", event, kind, fields)

    def write(self, level: str, event: str, kind: str, fields: Mapping[str, Any]) -> bool:
        """Writes a line, or only counts the line if one of that kind was written less than `seconds` ago.

        Args:
            level: severity of the line: `info`, `warning` or `error`.
            event: short text for the event; part of the kind.
            kind: rest of the kind, for events that differ in their cause. The text comes from the code and never from
                a client, which could invent kinds.
            fields: named values of the line.

        Returns:
            True if the line was written.
        """
        whole = f"{event}\0{kind}"
        suppressed = self._kinds.take(whole)
        if suppressed is None:
            return False
        self._last[whole] = level, event, kind
        if len(self._last) > _MAX_KINDS:
            self._last.clear()
        more = {"suppressed": suppressed} if suppressed else {}
        getattr(self._logger, level)(event, **fields, **more)
        return True

    def report(self) -> None:
        """Writes a line for each kind that has suppressed lines and may be written again."""
        for whole in self._kinds.over():
            level, event, kind = self._last.get(whole, ("warning", *whole.split("\0", 1)))
            self.write(level, event, kind, {"kind": kind} if kind else {})


_limited_logs: weakref.WeakSet[LimitedLog] = weakref.WeakSet()


def report_suppressed() -> None:
    """Writes the counts of suppressed lines of all limited logs in this process, if a minute has passed."""
    for limited in list(_limited_logs):
        limited.report()
