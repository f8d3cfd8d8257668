"""The metrics of the memory that a process uses for models, one series for each process."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class MemoryMetrics:
    """The number and size of the model versions in memory. Has to be made after the process's other metrics.

    Args:
        role: name of the process, such as `worker-1`.
    """

    def __init__(self, role: str) -> None:
        registry, labels = CollectorRegistry(), ("process",)
        self._versions = Gauge(
            "axon_versions_in_memory",
            "Model versions in memory: networks of a worker, schemas of an API process.",
            labels,
            multiprocess_mode="mostrecent",
            registry=registry,
        ).labels(role)
        self._bytes = Gauge(
            "axon_version_bytes",
            "Bytes of the model versions in memory.",
            labels,
            multiprocess_mode="mostrecent",
            registry=registry,
        ).labels(role)
        self._loads = Counter(
            "axon_version_loads", "Times that a model version came into memory.", labels, registry=registry
        ).labels(role)
        self._evictions = Counter(
            "axon_version_evictions", "Times that a model version left memory for others.", labels, registry=registry
        ).labels(role)
        self._counted = (0, 0)

    def report(self, *, versions: int, size: int, loads: int, evictions: int) -> None:
        """Sets the gauges, and adds to the counters what is new since the last call.

        Args:
            versions: number of versions in memory.
            size: number of bytes of these versions.
            loads: number of versions that have come into memory since the start of the process.
            evictions: number of versions that have left for others since the start of the process.
        """
        self._versions.set(versions)
        self._bytes.set(size)
        self._loads.inc(max(0, loads - self._counted[0]))
        self._evictions.inc(max(0, evictions - self._counted[1]))
        self._counted = max(loads, self._counted[0]), max(evictions, self._counted[1])
