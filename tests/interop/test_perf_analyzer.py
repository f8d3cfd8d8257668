"""Triton's load generator, unmodified, over HTTP and gRPC: no request fails."""

from __future__ import annotations

import pytest
from client_environments import perf_analyzer
from doors import Doors
from served_models import REQUEST_ROWS
from serving import metric_sum

CONNECTIONS = 8
SECONDS = 1.5


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize(("model", "rows"), [("colours", 1), ("colours", 100), ("price", 1)])
def test_a_load_has_no_failure(doors: Doors, protocol: str, model: str, rows: int) -> None:
    program = perf_analyzer()
    if not program.is_complete:
        pytest.skip("perf_analyzer is not there; `make interop` installs it")
    address = doors.http if protocol == "http" else doors.grpc
    before = metric_sum(doors.server, "axon_rows_total")
    data = REQUEST_ROWS[model]
    found = program.analyze(
        model, address, protocol, "input", data, connections=CONNECTIONS, rows=rows, seconds=SECONDS
    )
    assert found.requests > 0
    assert found.per_second > 0
    assert metric_sum(doors.server, "axon_rows_total") - before >= rows * found.requests
