"""The heartbeat policy detects a hang after about the configured time, and never after one missed probe."""

from __future__ import annotations

import pytest

from service.stream.heartbeat_policy import HeartbeatPolicy


@pytest.mark.parametrize("hang_seconds", [0.1, 0.4, 1.0, 3.7, 10.0, 600.0])
def test_as_many_misses_as_are_enough_take_about_as_long_as_the_setting(hang_seconds: float) -> None:
    patience = HeartbeatPolicy.of(hang_seconds)
    assert patience.probe_seconds * patience.max_missed == pytest.approx(hang_seconds, abs=patience.probe_seconds / 2)
    assert patience.probe_seconds <= 1.0
    assert patience.max_missed >= 4, "one late answer is no hang"
