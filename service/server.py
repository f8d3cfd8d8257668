"""The composition root: makes the LitServe server, the workers and the API processes from the settings."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import threading
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import litserve
from litserve.connector import check_cuda_with_nvidia_smi
from litserve.utils import WorkerSetupStatus

from models.signatures.trust import Trust
from models.store import Store
from service.api_forks import ForkServer
from service.api_heartbeats import Heartbeats
from service.api_supervisor import ApiSupervisor, CrashLoop
from service.certificate import Certificate, CertificateError
from service.drain import Drain
from service.environment import service_links
from service.host_processes import HostProcesses
from service.library_pages import let_go_of, library_mappings
from service.listeners import ListenError, Listeners, is_loopback
from service.log_pipe import LogPipe
from service.logs import configure_logs, get_logger, report_the_unexpected
from service.orphans import reap_orphans
from service.runtime_dir import make_runtime_dir
from service.settings import Settings
from service.setup_states import SetupStates
from service.start_checks import CANNOT_RUN, StartError, check_start, read_trust, runtime_parent
from service.stop_signals import StopSignals, ignore_stop_signals
from service.workers.worker import PredictAPI

if TYPE_CHECKING:
    from service.http.asgi import AsgiApplication, Routes

_MONITOR_SECONDS = 0.1  # how often LitServe looks whether a worker has died
_RESPAWN_SECONDS = 1.0  # time between two attempts to start a worker host again
_START_POLL_SECONDS = 0.005
_FILES_BESIDE_CONNECTIONS = 500
_LAST_SECONDS = 1.0  # for an API process to end after its last answer

log = get_logger(__name__)


class StoppedWhileStarting(Exception):
    """An exception for a stop signal before the server has started."""


class Server(litserve.LitServer):
    """LitServe's server, extended by Axon's application and by the supervision of the API processes."""

    def __init__(
        self,
        settings: Settings,
        runtime_dir: Path,
        log_pipe: LogPipe,
        listeners: Listeners,
        signals: StopSignals,
        certificate: Certificate | None,
        api: type[PredictAPI],
        routes: Routes | None,
        trust: Trust | None,
    ) -> None:
        device = _resolve_device(settings.device)
        super().__init__(
            api(settings, runtime_dir, trust),
            accelerator=device,
            devices="auto" if device == "cuda" else 1,
            workers_per_device=settings.workers,
            timeout=False,  # the batcher watches the deadlines
            restart_workers=True,
            disable_openapi_url=True,
        )
        self.settings = settings
        self._runtime_dir = runtime_dir
        self._log_pipe = log_pipe
        self.listeners = listeners
        self._certificate = certificate
        self._routes = routes
        self._trust = trust
        self._workers = len(self.devices) * settings.workers
        self._states = SetupStates(runtime_dir / "hosts")
        self._hosts = HostProcesses(self.devices, self._states, listeners)
        self.monitor_internal = _MONITOR_SECONDS
        self.uvicorn_graceful_timeout = settings.shutdown_seconds
        self.exit_code = 0
        self._fork_server: ForkServer | None = None
        self._supervisor: ApiSupervisor | None = None
        self._stop = signals.stop
        self._hurry = signals.hurry

    def serve(self) -> int:
        """Serves until a stop signal.

        Returns:
            The exit code: 0 after an orderly stop, 1 after the loss of a part that is not replaced.
        """
        settings = self.settings
        stand_in = socket.socket(socket.AF_UNIX)
        try:
            self.run(
                # LitServe accepts three addresses and no port below 1024, and lets uvicorn bind one. Axon's sockets are
                # bound already: LitServe gets a stand-in, and `_start_server` gives the sockets to the API processes.
                host="127.0.0.1",
                port=1024,
                fd=stand_in.fileno(),
                num_api_servers=settings.api_processes,
                log_level=settings.log_level,
                generate_client_file=False,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,  # uvicorn's reading of a client's address is not used, and costs each request time
                loop="service.http.event_loop:EventLoop",
                http="service.http.lane_protocol:LaneProtocol",
                ws="none",
                timeout_keep_alive=settings.idle_seconds,
            )
        except ListenError as error:
            log.error("cannot listen", reason=str(error))
            self.exit_code = 1
        except StoppedWhileStarting:
            pass
        except OSError as error:  # no process, no memory or no descriptor left
            log.error("the server cannot run here", reason=str(error))
            self.exit_code = 1
        except Exception:
            log.exception("the server failed")
            self.exit_code = 1
        finally:
            stand_in.close()
            self.listeners.close()
            if self._fork_server is not None:
                self._fork_server.close()
            _end_children()
        log.info("stopped", exit_code=self.exit_code)
        return self.exit_code

    def _init_manager(self, num_api_servers: int) -> None:
        """Does without LitServe's manager, a process that only holds queues, an event and a table for other processes.

        Batches have streams of their own, the event is one of this process, and the table is a folder.
        """
        self._shutdown_event = self._stop
        self.workers_setup_status = self._states

    def launch_inference_worker(self, lit_api: PredictAPI) -> list[BaseProcess]:
        """Forks all worker hosts. They import torch while this process imports the modules of HTTP."""
        gc.freeze()
        return [self._hosts.fork(lit_api, number) for number in range(self._workers)]

    def launch_single_inference_worker(self, lit_api: PredictAPI, worker_id: int) -> BaseProcess:
        """Spawns a worker host again.

        LitServe's watch over the hosts ends at the first error, and so would the replacement of hosts. A full disk or a
        lack of processes passes, so the host is tried again until it starts or the server stops.

        Raises:
            OSError: the server stops.
        """
        while True:
            try:
                return self._hosts.spawn(lit_api, worker_id)
            except OSError as error:
                log.error("a worker host could not be started; it is tried again", host=worker_id, reason=str(error))
                if self._stop.wait(_RESPAWN_SECONDS):
                    raise

    def verify_worker_status(self) -> None:
        """Waits until a worker host is up.

        Raises:
            RuntimeError: a worker host could not start.
            StoppedWhileStarting: a stop signal came.
        """
        while not any(status == WorkerSetupStatus.READY for status in self.workers_setup_status.values()):
            if any(status == WorkerSetupStatus.ERROR for status in self.workers_setup_status.values()):
                raise RuntimeError("a worker could not start")
            if self._stop.wait(_START_POLL_SECONDS):
                raise StoppedWhileStarting
        if self._stop.is_set():
            raise StoppedWhileStarting

    def _start_server(
        self, port: int, count: int, log_level: str, sockets: list[socket.socket], kind: str, **kwargs: Any
    ) -> dict[int, BaseProcess]:
        """Starts the fork server, which forks the API processes as LitServe does, and the watch over all processes."""
        configure_logs(self.settings.log_level, self.settings.log_format)  # LitServe has replaced the handlers
        for stand_in in sockets:
            stand_in.close()
        settings, heartbeats = self.settings, Heartbeats(count)
        self.app = application = self._make_application(heartbeats)
        listening = self.listeners.listen()
        start_one = super()._start_server

        def start(number: int, is_successor: bool) -> BaseProcess:
            application.number, application.is_successor = number, is_successor
            process: BaseProcess = start_one(port, 1, log_level, listening, kind, **kwargs)[0]
            return process

        gc.freeze()
        gc.enable()
        orphans_seconds = settings.drain_seconds + settings.shutdown_seconds + _LAST_SECONDS
        self._fork_server = ForkServer(start, orphans_seconds=orphans_seconds)
        self._supervisor = ApiSupervisor(self._fork_server, heartbeats, count, settings.hang_seconds)
        self._supervisor.start()
        # From here on this process has threads, and is not forked again.
        threading.Thread(target=self._watch, args=(self._supervisor,), name="watch-processes", daemon=True).start()
        if os.getpid() == 1:
            threading.Thread(target=reap_orphans, name="reap-orphans", daemon=True).start()
        let_go_of(library_mappings())
        log.info("serving", url=self.listeners.url, grpc_port=settings.grpc_port, store=str(settings.store))
        return {}

    def _make_application(self, heartbeats: Heartbeats) -> AsgiApplication:
        """Returns the application of the API processes, in place of LitServe's.

        The modules are imported here, while the hosts, which need none of them, import torch.
        """
        import pydantic.v1  # noqa: F401 -- FastAPI asks whether a class is a model of it

        from service.api_process import ApiProcess, SideDoor
        from service.http.asgi import AsgiApplication
        from service.http.routes.predict import predict_routes

        main = os.pidfd_open(os.getpid())
        process = ApiProcess(self.settings, self._runtime_dir, self._workers, heartbeats, main, self._trust)
        doors: list[SideDoor] = []
        if self.settings.grpc_port is not None:
            from service.grpc.door import GrpcDoor

            certificate = None if self._certificate is None else self._certificate.with_protocols("h2")
            doors.append(GrpcDoor(process, self.listeners, certificate))
        return AsgiApplication(process, self.listeners, self._certificate, self._routes or predict_routes, doors)

    def _watch(self, supervisor: ApiSupervisor) -> None:
        """Replaces API processes and the log relay until the server stops. LitServe replaces worker hosts."""
        try:
            while not self._stop.is_set():
                descriptors = [self._stop.fileno(), self._log_pipe.sentinel, *supervisor.sentinels()]
                if self._log_pipe.sentinel in wait(descriptors, supervisor.seconds_to_next_look()):
                    self._log_pipe.restart()
                supervisor.look()
        except CrashLoop as loop:
            log.error("the server ends: an API process cannot be kept running", reason=str(loop))
        except Exception:
            log.exception("the watch over the processes failed; the server ends")
        else:
            return
        self.exit_code = 1
        self._stop.set()

    def _perform_graceful_shutdown(self, manager: Any, _: Any, shutdown_reason: str = "normal") -> None:
        """Drains all API processes at the same time; LitServe would drain one after the other.

        Worker hosts need no drain; `serve` ends them.
        """
        self._stop.set()  # LitServe's monitor would restart the workers that are about to be stopped
        if (supervisor := self._supervisor) is not None:
            processes = supervisor.stop()
            Drain(processes, self.listeners, self.settings, self._hurry, supervisor.start_last).run()


def serve(settings: Settings, api: type[PredictAPI] = PredictAPI, routes: Routes | None = None) -> int:
    """Serves a store; returns the exit code. Afterwards, this process ignores stop signals.

    Args:
        settings: settings of the server.
        api: class that runs the models in the workers.
        routes: function that returns the routes of predictions; None for those of `service.http.routes.predict`.
    """
    # A collection writes into every object that it looks at. In a forked process, that would copy nearly all memory
    # that is shared with the parent. So `Server` freezes the objects before each fork, and later collections leave them
    # out. Until then there is hardly any garbage.
    gc.disable()
    signals = StopSignals()
    signals.take()
    try:
        warning = check_start(settings, signals.stop)
        trust = read_trust(settings)
        certificate = Certificate.from_settings(settings)
        listeners = Listeners(settings)
        runtime_dir, lock = make_runtime_dir(runtime_parent(settings))
    except (StartError, CertificateError, ListenError) as error:
        print(f"axon-serve: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code if isinstance(error, StartError) else CANNOT_RUN
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
            if warning is not None:
                log.warning(warning)
            _log_surprising_settings(settings)
            _allow_files(settings.max_connections + _FILES_BESIDE_CONNECTIONS)
            return Server(settings, runtime_dir, log_pipe, listeners, signals, certificate, api, routes, trust).serve()
    finally:
        ignore_stop_signals()
        os.close(lock)
        shutil.rmtree(runtime_dir, ignore_errors=True)


def _log_surprising_settings(settings: Settings) -> None:
    if isinstance(settings.store, Path) and not Store(settings.store).names():
        log.warning(
            "the store is empty; train a model (axon fit iris), and it will be served at once",
            store=str(settings.store),
        )
    if links := service_links(os.environ):
        log.warning("variables that an orchestrator sets for a service called axon are passed over", variables=links)
    if settings.api_keys is None and settings.api_keys_file is None and not is_loopback(settings):
        log.warning("open to whoever can reach it: no API keys are set", host=settings.host)


def _allow_files(count: int) -> None:
    """Raises the soft limit of open files, which child processes inherit, as far as the hard limit allows."""
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


def _end_children() -> None:
    """Kills all child processes, which have no work left at this point."""
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
    for child in children:
        child.join()
