"""Structured logs: one JSON object a line, or text for people; LitServe's and uvicorn's own lines in the same form."""

from __future__ import annotations

import logging
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Literal

import structlog

_QUIET = {"litserve": logging.WARNING, "uvicorn.access": logging.CRITICAL, "asyncio": logging.WARNING}


def configure_logs(level: str, form: Literal["json", "console"]) -> None:
    """Sends every log line of this process to standard error; calling it again starts afresh."""
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
        last = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    handler.addFilter(_is_worth_a_line)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(max(least, root.level))
    for name in ("uvicorn", "uvicorn.error"):  # "Started server process" and the like are ours to tell
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
    """Not uvicorn's warning of each request that is no HTTP: whoever sends noise would fill the disk."""
    return record.msg != "Invalid HTTP request received."


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger that takes an event and named fields: `log.info("worker up", worker=0)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


class LimitedLog:
    """A logger for what clients can cause: it writes at most one line a minute of each kind.

    The first line of a kind is written at once. Later ones are counted, and the next line that is written has the
    count as `suppressed`. `report_suppressed` writes the counts of kinds that have stopped coming.

    Args:
        logger: logger that writes the lines.
        seconds: shortest time between two lines of one kind.
        clock: monotonic clock, in seconds.
    """

    def __init__(
        self,
        logger: structlog.stdlib.BoundLogger,
        *,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._seconds = seconds
        self._clock = clock
        self._kinds: dict[tuple[str, str], _Kind] = {}
        _limited_logs.add(self)

    def warning(self, event: str, *, kind: str = "", **fields: Any) -> bool:
        """Writes a warning; see `write`."""
        return self.write("warning", event, kind, fields)

    def error(self, event: str, *, kind: str = "", **fields: Any) -> bool:
        """Writes an error; see `write`."""
        return self.write("error", event, kind, fields)

    def write(self, level: str, event: str, kind: str, fields: Mapping[str, Any]) -> bool:
        """Writes a line, or counts it where a line of its kind was written less than `seconds` ago.

        Args:
            level: severity of the line: `warning` or `error`.
            event: what happened; part of the kind.
            kind: rest of the kind, for events that differ in their cause. It comes from the code and never from a
                client, who could invent kinds.
            fields: named values of the line.

        Returns:
            True if the line was written.
        """
        now = self._clock()
        known = self._kinds.get((event, kind))
        if known is None:
            known = self._kinds[(event, kind)] = _Kind()
        elif now < known.silent_until:
            known.suppressed += 1
            known.level = level
            return False
        suppressed, known.suppressed = known.suppressed, 0
        known.silent_until = now + self._seconds
        more = {"suppressed": suppressed} if suppressed else {}
        getattr(self._logger, level)(event, **fields, **more)
        return True

    def report(self) -> None:
        """Writes a line for each kind whose lines were suppressed and whose time is over."""
        now = self._clock()
        for (event, kind), known in list(self._kinds.items()):
            if known.suppressed and now >= known.silent_until:
                self.write(known.level, event, kind, {"kind": kind} if kind else {})


class _Kind:
    """One kind of line: until when it is silent, and how many lines were suppressed meanwhile."""

    __slots__ = ("level", "silent_until", "suppressed")

    def __init__(self) -> None:
        self.silent_until = 0.0
        self.suppressed = 0
        self.level = "warning"


_limited_logs: weakref.WeakSet[LimitedLog] = weakref.WeakSet()


def report_suppressed() -> None:
    """Writes the counts of lines that limited logs of this process suppressed, where their time is over."""
    for limited in list(_limited_logs):
        limited.report()
