"""The setup states of worker hosts: one mapping in several processes."""

from __future__ import annotations

import errno
import multiprocessing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from service.server import Server
from service.setup_states import SetupStates
from service.stop_signals import PipeEvent


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


def test_a_host_that_takes_the_place_of_another_starts_on_a_full_disk_too(tmp_path: Path) -> None:
    states = SetupStates(tmp_path / "hosts")
    states["predict_0"] = "ready"
    (tmp_path / "hosts" / "predict_0.new").mkdir()  # as on a full disk, the file cannot be written
    with pytest.raises(OSError, match="directory"):
        states["predict_0"] = "starting"
    states.for_successors()["predict_0"] = "starting"
    assert states["predict_0"] == "ready"


def test_a_host_is_started_again_until_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.server._RESPAWN_SECONDS", 0.001)
    errors = [OSError(errno.EAGAIN, "Resource temporarily unavailable"), OSError(errno.ENOMEM, "Cannot allocate")]

    def spawn(api: object, number: int) -> str:
        if errors:
            raise errors.pop()
        return f"host {number}"

    server: Any = SimpleNamespace(_hosts=SimpleNamespace(spawn=spawn), _stop=PipeEvent())
    assert Server.launch_single_inference_worker(server, cast(Any, None), 3) == "host 3"
    errors.append(OSError(errno.EAGAIN, "Resource temporarily unavailable"))
    server._stop.set()
    with pytest.raises(OSError, match="unavailable"):
        Server.launch_single_inference_worker(server, cast(Any, None), 3)
