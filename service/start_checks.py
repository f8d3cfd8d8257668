"""Checks before the start: each fault is one sentence with the setting and the path."""

from __future__ import annotations

import contextlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

from litserve.connector import check_cuda_with_nvidia_smi

from models.errors import AxonError, ConfigError, ModelNotFound
from models.prediction_log.folder import SPOOLS
from models.signatures.trust import Trust, trust_of
from models.store import Store
from service.access import Access, AccessError
from service.bucket_check import check_bucket
from service.metrics import RESERVED_BYTES
from service.settings import Settings
from service.stop_signals import PipeEvent
from service.tracing.environment import TraceSettingsError, read_trace_settings

WRONG_SETTING, CANNOT_RUN = 2, 1
_TRACE_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


class StartError(Exception):
    """An error that prevents the start; the message is one sentence for the user.

    Attributes:
        exit_code: 2 for a wrong setting, 1 for a fault that may pass with time.
    """

    def __init__(self, sentence: str, exit_code: int = WRONG_SETTING) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def check_start(settings: Settings, stop: PipeEvent | None = None) -> str | None:
    """Checks the keys, the device, the packages and the store that the settings need.

    Args:
        settings: settings of the server.
        stop: event that ends the wait for a bucket; None for none.

    Returns:
        A warning about a store in a bucket, or None.

    Raises:
        StartError: one of these cannot be used.
    """
    _check_keys(settings)
    if settings.device == "cuda" and not check_cuda_with_nvidia_smi():
        raise StartError("AXON_DEVICE: there is no CUDA device on this machine; set it to cpu or auto.")
    if settings.grpc_port is not None and find_spec("hpack") is None:
        raise StartError("AXON_GRPC_PORT: gRPC needs the packages of an extra: pip install 'axon[service,grpc]'.")
    if settings.traces:
        _check_traces()
    _check_prediction_log(settings)
    return _check_store(settings, stop)


def _check_prediction_log(settings: Settings) -> None:
    """Checks the package and the folder of the log of predictions, and makes the folder."""
    folder = settings.prediction_log
    if folder is None:
        return
    if find_spec("pyarrow") is None:
        raise StartError(
            "AXON_PREDICTION_LOG: the log needs the packages of an extra: pip install 'axon[service,log]'."
        )
    try:
        (folder / SPOOLS).mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(prefix=".axon-", dir=folder / SPOOLS)
    except OSError as error:
        is_file = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a part of it is a file, not a folder" if is_file else _reason(error)
        raise StartError(f"AXON_PREDICTION_LOG: {folder} cannot be written to: {reason}.") from None
    os.close(descriptor)
    Path(path).unlink()


def _check_traces() -> None:
    for package in _TRACE_PACKAGES:
        try:
            found = find_spec(package)
        except ModuleNotFoundError:  # the package above it is missing
            found = None
        if found is None:
            raise StartError("AXON_TRACES: traces need the packages of an extra: pip install 'axon[service,traces]'.")
    try:
        read_trace_settings(os.environ)
    except TraceSettingsError as error:
        raise StartError(str(error)) from None


def read_trust(settings: Settings) -> Trust | None:
    """Reads the keys that may have signed versions, once for all processes; returns None if no key is trusted.

    Raises:
        StartError: a key file cannot be used, or signatures are required without a key.
    """
    try:
        return trust_of(settings.trusted_keys, required=settings.require_signature)
    except ConfigError as error:
        raise StartError(str(error)) from None


def runtime_parent(settings: Settings) -> Path:
    """Returns the parent of the runtime folder, after a test for enough free space.

    Raises:
        StartError: the folder cannot be made, is not a folder, is not writable, or has not enough free space.
    """
    if settings.runtime_dir is None:
        try:
            return _with_room(Path(tempfile.gettempdir()), "AXON_RUNTIME_DIR (unset: the temporary folder)", settings)
        except FileNotFoundError as error:
            tried = ", ".join(error.args[-1].rpartition("[")[2].rstrip("]").split(", ")) if error.args else ""
            raise StartError(
                f"AXON_RUNTIME_DIR: it is unset, and there is no temporary folder that can be written to ({tried}); "
                "set it, or TMPDIR, to a folder that can."
            ) from None
    return _with_room(settings.runtime_dir, "AXON_RUNTIME_DIR", settings)


def _with_room(folder: Path, name: str, settings: Settings) -> Path:
    """Returns the folder, after a test that the metric files of all processes fit.

    Args:
        folder: folder to test; made if missing.
        name: name of the setting, for messages.
        settings: settings with the numbers of processes.

    Raises:
        StartError: the folder cannot be made or written to, or has not enough free space.
    """
    wanted = RESERVED_BYTES * (settings.api_processes + settings.workers)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(prefix="axon-room-", dir=folder)
    except OSError as error:
        is_file = isinstance(error, (FileExistsError, NotADirectoryError))
        reason = "a part of it is a file, not a folder" if is_file else _reason(error)
        raise StartError(f"{name}: {folder} cannot be written to: {reason}.") from None
    try:
        os.posix_fallocate(descriptor, 0, wanted)
    except OSError as error:
        size = f"{wanted / (1 << 20):.0f} MiB"
        raise StartError(f"{name}: {folder} has no room for {size} of metric files: {_reason(error)}.") from None
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            Path(path).unlink()
    return folder


def _check_keys(settings: Settings) -> None:
    try:
        Access.from_settings(settings)  # each API process reads the keys again; a fault is reported here
    except AccessError as error:
        of_file = settings.api_keys_file is not None and str(settings.api_keys_file) in str(error)
        raise StartError(f"AXON_API_KEYS_FILE: {error}" if of_file else str(error)) from None


def _check_store(settings: Settings, stop: PipeEvent | None) -> str | None:
    """Checks the store and the default model. A missing store is not a fault, because training makes one."""
    root = settings.store
    if not isinstance(root, Path):
        return _check_bucket(settings, root, stop)
    try:
        if root.exists() and not root.is_dir():
            raise StartError(f"AXON_STORE: {root} is a file, not a folder of models.")
        store = Store(root)
        names = store.names()
    except OSError as error:
        reason = "a part of it is a file" if isinstance(error, NotADirectoryError) else _reason(error)
        raise StartError(f"AXON_STORE: {root} cannot be read: {reason}.") from None
    except AxonError as error:
        raise StartError(f"AXON_STORE: {error}") from None
    if settings.default_model is None:
        return None
    try:
        store.resolve(settings.default_model)
    except ModelNotFound as error:
        if names:
            known = ", ".join(names[:10])
            raise StartError(f"AXON_DEFAULT_MODEL: {error} {root} has {known}.") from None
    except AxonError as error:
        raise StartError(f"AXON_DEFAULT_MODEL: {error}") from None
    return None


def _check_bucket(settings: Settings, url: str, stop: PipeEvent | None) -> str | None:
    """Checks a store in a bucket; returns a warning, or None.

    A bucket that does not answer is not a fault: what was brought before is served.
    """
    state = check_bucket(url, settings.store_cache, settings.store_cache_bytes, settings.default_model, stop)
    if state.fault is not None:
        raise StartError(f"AXON_STORE: {state.fault}")
    if state.problem is not None:
        return f"the store cannot be read, and what was brought before is served: {state.problem}"
    if not state.names:
        return f"the store {url} is empty; publish a model, and it will be served at once"
    if state.default_fault is not None:
        raise StartError(f"AXON_DEFAULT_MODEL: {state.default_fault} {url} has {', '.join(state.names[:10])}.")
    return None


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
