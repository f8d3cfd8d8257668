"""The setup states of worker hosts: one mapping in several processes."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from service.setup_states import SetupStates


def test_it_is_the_mapping_that_litserve_uses(tmp_path: Path) -> None:
    states = SetupStates(tmp_path / "hosts")
    assert not states
    states["predict_0"] = "starting"
    states["predict_1"] = "starting"
    states["predict_0"] = "ready"
    assert dict(states) == {"predict_0": "ready", "predict_1": "starting"}
    del states["predict_1"]
    assert list(states.values()) == ["ready"]
    with pytest.raises(KeyError):
        del states["predict_1"]
    with pytest.raises(KeyError):
        states["predict_1"]


def _set_up(states: SetupStates) -> None:
    states["predict_0"] = "ready"


def test_what_a_spawned_process_writes_is_read_here(tmp_path: Path) -> None:
    states = SetupStates(tmp_path / "hosts")
    states["predict_0"] = "starting"
    process = multiprocessing.get_context("spawn").Process(target=_set_up, args=(states,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert states["predict_0"] == "ready"
