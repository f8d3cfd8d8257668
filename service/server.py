"""The composition root: settings → the LitServe server, its workers and its API processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType
from typing import Any

import litserve
from litserve.connector import check_cuda_with_nvidia_smi

from models.store import Store
from service.environment import service_links
from service.http.front_door import FrontDoor
from service.http.protocol import HttpProtocol
from service.lifeline import die_with_parent
from service.log_pipe import LogPipe
from service.logs import configure_logs, get_logger, report_the_unexpected
from service.runtime_dir import make_runtime_dir
from service.settings import Settings
from service.start_checks import StartError, check_start, runtime_parent
from service.workers.worker import PredictAPI

_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_WORKER_NAME = "inference-worker"  # LitServe's name for them
_MONITOR_SECONDS = 0.1  # how often LitServe looks whether a worker has died
_STOP_SECONDS = 0.2  # for what takes no time by itself, on a busy machine
_HURRIED_STOP_SECONDS = 1.0
_FILES_BESIDE_CONNECTIONS = 500

log = get_logger(__name__)


class Server(litserve.LitServer):
    """LitServe's server with Axon's front door, and an eye on the API processes, which LitServe has not."""

    def __init__(
        self,
        settings: Settings,
        runtime_dir: Path,
        log_pipe: LogPipe,
        early_signals: list[int],
        api: type[PredictAPI] = PredictAPI,
    ) -> None:
        device = _resolve_device(settings.device)
        super().__init__(
            api(settings, runtime_dir),
            accelerator=device,
            devices="auto" if device == "cuda" else 1,
            workers_per_device=settings.workers,
            timeout=False,  # deadlines are the batcher's
            restart_workers=True,
            disable_openapi_url=True,
        )
        self.settings = settings
        self._log_pipe = log_pipe
        self._early_signals = early_signals
        self.app = FrontDoor(settings, runtime_dir, workers=len(self.devices) * settings.workers)
        self.monitor_internal = _MONITOR_SECONDS
        self.uvicorn_graceful_timeout = settings.shutdown_seconds
        self.exit_code = 0
        self._api_processes: list[BaseProcess] = []
        self._listeners: list[socket.socket] = []
        self._stop = threading.Event()
        self._stop_asked = False

    def serve(self) -> int:
        """Serves until a signal ends it.

        Returns:
            The exit code: 0 after an orderly stop, 1 where a part of the server was lost for good.
        """
        settings = self.settings
        # As PID 1, a signal without a handler is ignored; elsewhere SIGTERM would leave LitServe's children behind.
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)
        if self._early_signals:
            self._on_signal(self._early_signals[0], None)
        os.register_at_fork(after_in_child=partial(_after_fork, os.getpid()))
        try:
            self.run(
                host=settings.host,
                port=settings.port,
                num_api_servers=settings.api_processes,
                log_level=settings.log_level,
                generate_client_file=False,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # nothing here asks for a client's address, and it costs each request
                loop="uvloop",
                http=HttpProtocol,
                ws="none",
                timeout_keep_alive=settings.idle_seconds,
            )
        except SystemExit:  # uvicorn's way of saying that it cannot bind
            log.error("cannot listen: is the port taken?", host=settings.host, port=settings.port)
            self.exit_code = 1
        except KeyboardInterrupt:
            log.warning("stopped in a hurry")
        except OSError as error:  # no process, no memory or no descriptor left
            log.error("the server cannot run here", reason=str(error))
            self.exit_code = 1
        except Exception:
            log.exception("the server failed")
            self.exit_code = 1
        finally:
            _end_children()
        log.info("stopped", exit_code=self.exit_code)
        return self.exit_code

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        """The first signal asks for an orderly stop, the second for a quick one."""
        if self._stop_asked:
            raise KeyboardInterrupt
        self._stop_asked = True
        # In a thread: the main thread may be inside the event's own lock at this moment.
        threading.Thread(target=self._stop.set, daemon=True).start()

    def _init_manager(self, num_api_servers: int) -> Any:
        """Waits for the end on an event of this process; LitServe's lives in the manager, and dies with it."""
        manager = super()._init_manager(num_api_servers)
        self._shutdown_event = self._stop
        return manager

    def _start_server(
        self, port: int, count: int, log_level: str, sockets: list[socket.socket], kind: str, **kwargs: Any
    ) -> dict[int, BaseProcess]:
        """Forks the API processes; LitServe never looks at them or at its manager again, so that is done from here."""
        configure_logs(self.settings.log_level, self.settings.log_format)  # LitServe has set up its own
        processes: dict[int, BaseProcess] = super()._start_server(port, count, log_level, sockets, kind, **kwargs)
        self._listeners = sockets
        self._api_processes = list(processes.values())
        threading.Thread(target=self._watch, name="watch-processes", daemon=True).start()
        log.info("serving", url=f"http://{self.settings.host}:{self.settings.port}", store=str(self.settings.store))
        return processes

    def _watch(self) -> None:
        """Ends the server with exit code 1 when an API process or the manager dies on its own: never half alive.

        Inference workers are LitServe's to restart.
        """
        watched = {child.sentinel: child for child in multiprocessing.active_children() if child.name != _WORKER_NAME}
        while (ended := wait([*watched, self._log_pipe.sentinel])) == [self._log_pipe.sentinel]:
            self._log_pipe.restart()
        dead = [watched[sentinel].name for sentinel in ended if sentinel in watched and isinstance(sentinel, int)]
        if not self._stop.is_set():
            log.error("a process died; the server ends", processes=dead)
            self.exit_code = 1
            self._stop.set()

    def _perform_graceful_shutdown(self, manager: Any, _: Any, shutdown_reason: str = "normal") -> None:
        """Drains all API processes side by side, which LitServe would do one after the other; then ends the rest."""
        self._stop.set()  # LitServe's monitor would restart the workers that are about to be stopped
        settings = self.settings
        for process in self._api_processes:
            process.terminate()
        ended = [process.sentinel for process in self._api_processes]
        wait(ended[:1], settings.drain_seconds + _STOP_SECONDS)
        for listener in self._listeners:
            # Closing would not do: children have copies, which would take connections that nobody answers.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        deadline = time.monotonic() + settings.shutdown_seconds + _STOP_SECONDS
        for process in self._api_processes:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                log.error("an API process did not stop in time; killed", process=process.name)
                process.kill()
        super()._perform_graceful_shutdown(manager, {}, shutdown_reason)


def serve(settings: Settings, api: type[PredictAPI] = PredictAPI) -> int:
    """Serves a store; returns the exit code.

    Args:
        settings: all of them.
        api: what runs the models in the workers.
    """
    early_signals: list[int] = []  # from here on there is something to clear away
    for signum in _STOP_SIGNALS:
        signal.signal(signum, lambda signum, _: early_signals.append(signum))
    try:
        check_start(settings)
        runtime_dir, lock = make_runtime_dir(runtime_parent(settings))
    except StartError as error:
        print(f"axon-serve: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    tempfile.tempdir = str(runtime_dir)  # where LitServe's manager puts its socket, and leaves it
    try:
        log_pipe = LogPipe(settings.log_format)
    except OSError as error:
        print(f"axon-serve: the log relay cannot be started: {error}.", file=sys.stderr)  # noqa: T201
        os.close(lock)
        shutil.rmtree(runtime_dir, ignore_errors=True)
        return 1
    try:
        with log_pipe:
            configure_logs(settings.log_level, settings.log_format)
            report_the_unexpected()
            _note_what_may_surprise(settings)
            _allow_files(settings.max_connections + _FILES_BESIDE_CONNECTIONS)
            return Server(settings, runtime_dir, log_pipe, early_signals, api).serve()
    finally:
        os.close(lock)
        shutil.rmtree(runtime_dir, ignore_errors=True)


def _note_what_may_surprise(settings: Settings) -> None:
    if not Store(settings.store).names():
        log.warning(
            "the store is empty; train a model (python -m training fit iris), and it will be served at once",
            store=str(settings.store),
        )
    if links := service_links(os.environ):
        log.warning("variables that an orchestrator sets for a service called axon are passed over", variables=links)
    if settings.api_keys is None and settings.api_keys_file is None and settings.host != "127.0.0.1":
        log.warning("open to whoever can reach it: no API keys are set", host=settings.host)


def _allow_files(count: int) -> None:
    """Raises the soft limit of open files, which children take over, as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        log.warning("fewer files may be open than AXON_MAX_CONNECTIONS asks for", limit=hard, wanted=count)
        count = hard
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def _resolve_device(device: str) -> str:
    if device == "auto":
        return "cuda" if check_cuda_with_nvidia_smi() else "cpu"
    return device


def _after_fork(main: int) -> None:
    """In each forked child (API processes and LitServe's manager).

    The main process's handlers are not for it (uvicorn puts them back when it ends); and should the main process be
    killed, the kernel tells the child, since the manager would never notice. Workers are spawned and watch for it.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    die_with_parent(main, signal.SIGTERM)


def _end_children() -> None:
    """Leaves no process behind, however the server came to its end."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _HURRIED_STOP_SECONDS
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()
