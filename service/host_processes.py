"""The processes of the worker hosts: forked when the server starts, spawned again after a host has died."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from typing import Any

from litserve.callbacks import CallbackRunner
from litserve.loops import inference_worker
from litserve.utils import WorkerSetupStatus

from service.listeners import Listeners
from service.process_name import set_process_name
from service.setup_states import SetupStates
from service.stop_signals import ignore_stop_signals, stop_signals_blocked
from service.workers.worker import PredictAPI

HOST_NAME = "inference-worker"  # LitServe's name for them


class HostProcesses:
    """The starter of the worker hosts.

    A host runs LitServe's `inference_worker`, which calls the LitAPI and its LitLoop.

    The first hosts are forks of the main process. They share what it has imported (LitServe, FastAPI, NumPy), and need
    not import it again. Later the main process has threads, and a fork could inherit a lock that one of them holds. So
    the successor of a dead host is spawned, as LitServe does.

    Args:
        devices: LitServe's devices; host `n` uses the device `n` modulo their number.
        states: setup states of the hosts.
        listeners: sockets that no host keeps open.
    """

    def __init__(self, devices: Sequence[str | list[str]], states: SetupStates, listeners: Listeners) -> None:
        self._devices = devices
        self._states = states
        self._listeners = listeners

    def fork(self, api: PredictAPI, number: int) -> BaseProcess:
        """Forks a host; only for a process without threads."""
        arguments = self._arguments(api, number, self._states)
        process = multiprocessing.get_context("fork").Process(
            target=_run_fork, args=(self._listeners, *arguments), name=HOST_NAME
        )
        with stop_signals_blocked():
            process.start()
        return process

    def spawn(self, api: PredictAPI, number: int) -> BaseProcess:
        """Spawns a host.

        Raises:
            OSError: there is no room for another process.
        """
        arguments = self._arguments(api, number, self._states.for_successors())
        process = multiprocessing.get_context("spawn").Process(target=_run, args=arguments, name=HOST_NAME)
        # Otherwise `multiprocessing` would start the tracker together with the host, and unblock the signals then.
        resource_tracker.ensure_running()
        with stop_signals_blocked():
            process.start()
        return process

    def _arguments(self, api: PredictAPI, number: int, states: SetupStates) -> tuple[PredictAPI, str, int, SetupStates]:
        device = self._devices[number % len(self._devices)]
        states[_state_name(api, number)] = WorkerSetupStatus.STARTING
        return api, device if isinstance(device, str) else device[0], number, states


def _state_name(api: PredictAPI, number: int) -> str:
    """Returns LitServe's name of a host."""
    return f"{api.api_path.rpartition('/')[2]}_{number}"


def _run_fork(listeners: Listeners, *arguments: Any) -> None:
    """Runs a forked host, without the signal handlers and the listening sockets of the main process."""
    ignore_stop_signals()
    listeners.close_copies()
    _run(*arguments)


def _run(api: PredictAPI, device: str, number: int, states: SetupStates) -> None:
    """Runs a host until its end. LitServe's queues are left out: batches come over the worker's own socket."""
    set_process_name(f"axon-host-{number}")
    inference_worker(api, device, number, None, None, states, CallbackRunner(), True)
