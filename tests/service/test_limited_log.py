"""Events that clients can cause write one line per minute and kind, with the number of the others."""

from __future__ import annotations

import structlog
from structlog.testing import CapturingLogger

from service.logs import LimitedLog, report_suppressed


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make_log(clock: Clock) -> tuple[LimitedLog, CapturingLogger]:
    lines = CapturingLogger()
    logger = structlog.wrap_logger(lines, processors=[], wrapper_class=structlog.stdlib.BoundLogger)
    return LimitedLog(logger, seconds=60.0, clock=clock), lines


def test_the_first_line_of_a_kind_is_written_and_the_next_one_a_minute_later_has_the_count() -> None:
    clock = Clock()
    limited, lines = make_log(clock)
    for at in range(6000):  # ten minutes, ten lines per second
        clock.now = 1000.0 + at / 10
        limited.warning("request failed", request_id=at)
    written = [call.kwargs for call in lines.calls]
    assert [line["request_id"] for line in written] == [0, 600, 1200, 1800, 2400, 3000, 3600, 4200, 4800, 5400]
    assert [line.get("suppressed") for line in written] == [None] + [599] * 9


def test_kinds_do_not_silence_each_other() -> None:
    limited, lines = make_log(Clock())
    for _ in range(3):
        limited.warning("request failed", kind="internal")
        limited.warning("request failed", kind="model-fault")
        limited.error("forward pass failed")
    assert [(call.method_name, call.kwargs["event"]) for call in lines.calls] == [
        ("warning", "request failed"),
        ("warning", "request failed"),
        ("error", "forward pass failed"),
    ]


def test_what_stopped_coming_is_reported_once_its_minute_is_over() -> None:
    clock = Clock()
    limited, lines = make_log(clock)
    for _ in range(5):
        limited.error("forward pass failed", kind="ValueError")
    report_suppressed()
    assert len(lines.calls) == 1
    clock.now += 60
    report_suppressed()
    report_suppressed()
    assert [call.kwargs for call in lines.calls[1:]] == [
        {"event": "forward pass failed", "kind": "ValueError", "suppressed": 4}
    ]
