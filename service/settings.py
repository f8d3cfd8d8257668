"""The settings of the service: typed environment variables `AXON_…`, checked once at start and frozen.

A test compares the table of docs/settings.md with this class.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from models.bucket.address import BucketAddress, url_of
from models.errors import StoreError
from models.version_policy import VersionPolicy

# The bounds are far above useful values, and below values that break a machine: the start refuses a digit too many.
Processes = Annotated[int, Field(ge=1, le=256)]  # each takes 100 MB and more
Threads = Annotated[int, Field(ge=1, le=512)]  # more CPUs than a matrix product of this kind can use
Rows = Annotated[int, Field(ge=1, le=1 << 30)]  # 4 GiB of one column
BatchRows = Annotated[int, Field(ge=1, le=1 << 20)]  # a forward pass has room for a whole batch in each layer
BodyBytes = Annotated[int, Field(ge=1, le=1 << 31)]  # frames and the JSON reader count a body's bytes in 32 bits
Bytes = Annotated[int, Field(ge=1, le=1 << 40)]
CacheBytes = Annotated[int, Field(ge=1, le=1 << 50)]
Connections = Annotated[int, Field(ge=1, le=1 << 20)]  # the most files that Linux lets a process open by default
Versions = Annotated[int, Field(ge=1, le=100_000)]
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]  # a day
Interval = Annotated[float, Field(ge=0.01, le=86_400, allow_inf_nan=False)]  # shorter ones keep a CPU busy

_ROOT_PATH = re.compile(r"[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*", re.ASCII)
_OWN_PATHS = ("predict", "models", "health", "metrics", "docs", "openapi.json", "console", "studies")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?", re.ASCII)


class Settings(BaseSettings):
    """All settings; the variable of a field is `AXON_` followed by the field's name in capitals."""

    model_config = SettingsConfigDict(env_prefix="AXON_", frozen=True, extra="ignore", hide_input_in_errors=True)

    store: Path | str = Field(
        Path("checkpoints"), description="Folder of models to serve, or bucket: `s3://BUCKET/PREFIX`, `gs://`, `az://`."
    )
    store_cache: Path | None = Field(
        None, description="Folder for what is brought from a bucket; unset, `axon/store` in the user's cache folder."
    )
    store_cache_bytes: CacheBytes = Field(
        10 << 30, description="Bytes of a bucket's checkpoints in that folder; the least recently used ones leave."
    )
    host: str = Field(
        "0.0.0.0",  # noqa: S104
        pattern=r"^\S+$",
        description="Address or host name to listen on; `::` takes IPv6 and IPv4.",
    )
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    grpc_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Port of the Open Inference Protocol over gRPC, at the same addresses; unset, there is no gRPC.",
    )
    socket: Path | None = Field(None, description="Path of a Unix socket to listen on, instead of host and port.")
    socket_mode: str = Field(
        "660",
        pattern="^[0-7]{3}$",
        description="Permissions of the Unix socket, in octal; connecting takes write permission.",
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the certificate and its chain; with it and its key, the server speaks HTTPS."
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key, without a passphrase.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where models run; `auto` is CUDA where there is a GPU, else the CPU."
    )
    workers: Processes = Field(1, description="Inference workers per device.")
    api_processes: Processes = Field(1, description="Processes that speak HTTP.")
    threads: Threads = Field(1, description="CPU threads of one worker's matrix products.")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32",
        description="Type of a GPU's matrix products, except the first of a model, and with `bf16` also the last; a "
        "CPU computes in float32.",
    )
    default_model: str | None = Field(
        None, description="Model for requests that name none; unset, the only model where the store has just one."
    )
    max_batch_rows: BatchRows = Field(4096, description="Rows in one forward pass at most.")
    max_queue_rows: Rows = Field(
        100_000, description="Rows of one model that may wait in one API process; beyond, requests get 429."
    )
    max_request_rows: Rows = Field(100_000, description="Rows in one request at most; beyond, it gets 413.")
    max_body_bytes: BodyBytes = Field(32 * 1024 * 1024, description="Bytes of one request body at most; beyond, 413.")
    timeout_seconds: Seconds = Field(
        30.0, description="Deadline of a request that sets none in `X-Request-Timeout-Seconds`; missed, it gets 504."
    )
    max_timeout_seconds: Seconds = Field(300.0, description="The longest deadline that a request may set.")
    reload_seconds: Interval = Field(2.0, description="How often the store is looked at for new versions and aliases.")
    hang_seconds: Interval = Field(
        10.0, description="A worker or API process silent for so long counts as hung; it is killed and replaced."
    )
    header_seconds: Seconds = Field(10.0, description="How long a request's head may take to come.")
    body_seconds: Seconds = Field(30.0, description="How long a request's body may take to come.")
    idle_seconds: Seconds = Field(75.0, description="How long a connection is kept between two requests.")
    max_connections: Connections = Field(10_000, description="Connections to one API process at most; beyond, 503.")
    max_buffered_bytes: Bytes = Field(
        512 * 1024 * 1024, description="Bytes of all bodies that one API process holds at a time; beyond, 503."
    )
    model_cache: Versions = Field(
        256, description="Model versions kept in memory by each process; the least recently used goes first."
    )
    versions: str = Field(
        "on-demand",
        description="Versions served of each model: `on-demand`, `newest:N`, `all` or `listed`; those with an alias "
        "always are, and `axon versions` sets it for one model.",
    )
    model_memory_bytes: Bytes | None = Field(
        None,
        description="Bytes of models that each worker and each API process holds; the least recently used ones leave, "
        "and come back when asked for. Unset, only `AXON_MODEL_CACHE` limits them.",
    )
    drift: bool = Field(True, description="Compare what is served with what the models were trained on.")
    drift_window_rows: int = Field(
        2000, ge=200, le=1 << 30, description="Rows of a full window of drift, over all API processes."
    )
    drift_window_seconds: Interval = Field(
        900.0, description="How long a window of drift waits to be full; a full one lasts a fifteenth of it at least."
    )
    drift_rows_per_second: Rows = Field(
        200, description="Rows that one API process looks at for drift in a second at most; under more load, a sample."
    )
    prediction_log: Path | None = Field(
        None,
        description="Folder of the log of predictions, for `axon monitor`; needs the extra `log`. Unset: no log.",
    )
    prediction_log_sample: float = Field(
        1.0, gt=0, le=1, allow_inf_nan=False, description="Share of the answered rows that the log takes, at random."
    )
    prediction_log_bytes: int = Field(
        1 << 30, ge=1 << 24, le=1 << 50, description="Bytes of all files of the log at most; the oldest leave."
    )
    prediction_log_omit: str = Field(
        "", description="Columns that the log leaves out, with commas between; the disk never sees them."
    )
    prediction_log_seconds: Interval = Field(
        300.0, description="How long the log gathers rows before it makes a Parquet file of them."
    )
    drain_seconds: float = Field(
        0.5,
        ge=0,
        le=86_400,
        allow_inf_nan=False,
        description="After SIGTERM, how long requests are still taken while readiness already says 503.",
    )
    shutdown_seconds: int = Field(
        30, ge=1, le=86_400, description="After draining, how long accepted requests may take to finish."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severity logged.")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or text for people.")
    access_log: bool = Field(False, description="Write a log line for each prediction.")
    traces: bool = Field(
        False,
        description="Write OpenTelemetry spans of predictions, set by variables `OTEL_…`; needs the extra `traces`.",
    )
    trusted_hops: int = Field(
        0,
        ge=0,
        le=16,
        description="Proxies before the server whose word on the client's address the access log trusts.",
    )
    forwarded_header: Literal["x-forwarded-for", "forwarded"] = Field(
        "x-forwarded-for", description="Header in which these proxies state the client's address."
    )
    root_path: str = Field(
        "", description="Path under which a proxy serves the API, such as `/axon`; the proxy may strip it or not."
    )
    console: bool = Field(True, description="Show the console to browsers that open the server's address.")
    cors_origins: str | None = Field(
        None,
        description="Origins, with blanks between, whose pages may read answers in browsers; `*` for all; unset, none.",
    )
    api_keys: SecretStr | None = Field(
        None,
        description="API keys, each `name:scopes:sha256`, with blanks between; with no keys and no file, all is open.",
    )
    api_keys_file: Path | None = Field(
        None,
        description="File of API keys, one per line; read again when it changes. `axon keys new` makes a key.",
    )
    trusted_keys: str | None = Field(
        None,
        description="PEM files of public keys, with blanks between: a version whose signature is not by one of them is "
        "not loaded; needs the extra `signing`.",
    )
    require_signature: bool = Field(
        False, description="Load no version without a signature; off, only wrong signatures are refused."
    )
    runtime_dir: Path | None = Field(
        None,
        description="Folder for sockets, metric files and copies of what is served; unset, a private one under the "
        "temporary folder.",
    )

    @property
    def prediction_log_columns_left_out(self) -> tuple[str, ...]:
        """Names in `prediction_log_omit`."""
        return tuple(name.strip() for name in self.prediction_log_omit.split(",") if name.strip())

    @field_validator("port", "grpc_port", mode="before")
    @classmethod
    def _no_service_link(cls, given: Any, info: ValidationInfo) -> Any:
        """Ignores `AXON_PORT=tcp://10.0.0.1:8000`, which Kubernetes sets for a Service called `axon`."""
        if isinstance(given, str) and "://" in given:
            return cls.model_fields[str(info.field_name)].default
        return given

    @field_validator("store", "runtime_dir", "store_cache", "prediction_log", mode="before")
    @classmethod
    def _named_folder(cls, given: Any) -> Any:
        if isinstance(given, str) and not given.strip():
            raise ValueError("it is empty; name a folder, or leave the variable out")
        return given

    @field_validator("store", mode="after")
    @classmethod
    def _folder_or_url(cls, given: Path | str) -> Path | str:
        """Returns a `Path` for a folder, and the text of a URL; a URL with credentials is refused and never quoted."""
        if (url := url_of(given)) is None:
            return Path(given)
        try:
            return BucketAddress.parse(url).url
        except StoreError as error:
            raise ValueError(str(error).removesuffix(".")) from None

    @field_validator("versions")
    @classmethod
    def _policy(cls, given: str) -> str:
        policy = VersionPolicy.parse(given)
        if policy.listed:
            raise ValueError("a list of versions is for one model: `axon versions NAME 1,3` sets it")
        return policy.text

    @field_validator("root_path")
    @classmethod
    def _rooted(cls, given: str) -> str:
        path = given.strip().strip("/")
        if not path:
            return ""
        if not _ROOT_PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise ValueError("it is not a path such as /axon")
        if (first := path.partition("/")[0]) in _OWN_PATHS:
            raise ValueError(f"/{first} is a path of the API itself, so that no root path can begin with it")
        return f"/{path}"

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, given: str | None) -> str | None:
        origins = (given or "").replace(",", " ").split()
        for origin in origins:
            if origin != "*" and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is not an origin such as https://app.example.org, without a path")
        if "*" in origins and len(origins) > 1:
            raise ValueError("* is for every origin; leave the others out")
        return " ".join(origins) or None

    @field_validator("host")
    @classmethod
    def _host_without_brackets(cls, host: str) -> str:
        return host[1:-1] if host.startswith("[") and host.endswith("]") else host

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("AXON_TLS_CERTIFICATE and AXON_TLS_KEY must be set together; one of them is missing.")
        return self

    @model_validator(mode="after")
    def _ports_differ(self) -> Self:
        if self.socket is None and self.grpc_port == self.port:
            raise ValueError(f"AXON_GRPC_PORT and AXON_PORT must differ; both are {self.port}.")
        return self

    @model_validator(mode="after")
    def _limits_fit_each_other(self) -> Self:
        if self.max_request_rows > self.max_queue_rows:
            raise ValueError(
                f"AXON_MAX_REQUEST_ROWS ({self.max_request_rows}) must not exceed "
                f"AXON_MAX_QUEUE_ROWS ({self.max_queue_rows}): such a request could never be accepted."
            )
        if self.timeout_seconds > self.max_timeout_seconds:
            raise ValueError(
                f"AXON_TIMEOUT_SECONDS ({self.timeout_seconds:g}) must not exceed "
                f"AXON_MAX_TIMEOUT_SECONDS ({self.max_timeout_seconds:g})."
            )
        return self
