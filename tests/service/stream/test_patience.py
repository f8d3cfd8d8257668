"""Patience: however long it is, a hang is found at about the time that the setting says, and never by one look."""

from __future__ import annotations

import pytest

from service.stream.patience import Patience


@pytest.mark.parametrize("hang_seconds", [0.1, 0.4, 1.0, 3.7, 10.0, 600.0])
def test_as_many_misses_as_are_enough_take_about_as_long_as_the_setting(hang_seconds: float) -> None:
    patience = Patience.of(hang_seconds)
    assert patience.look_seconds * patience.most_misses == pytest.approx(hang_seconds, abs=patience.look_seconds / 2)
    assert patience.look_seconds <= 1.0
    assert patience.most_misses >= 4, "one late answer is no hang"
