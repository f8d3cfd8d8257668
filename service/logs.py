"""Structured logs: one JSON object a line, or text for people; LitServe's and uvicorn's own lines in the same form."""

from __future__ import annotations

import logging
import sys
from typing import Literal

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
