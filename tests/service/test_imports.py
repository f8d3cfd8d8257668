"""The imports of the main process: never torch, and the modules of HTTP only after the fork of the worker hosts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def imported(code: str) -> list[str]:
    """Returns the names of the modules that a new Python has after some code."""
    code = f"import json, sys; {code}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True)
    names: list[str] = json.loads(done.stdout)
    return names


@pytest.mark.slow
def test_no_process_but_the_hosts_needs_torch() -> None:
    modules = imported("import service.server, service.http.asgi, service.api_process, service.http.protocol")
    assert "torch" not in modules
    assert "inference.engine" not in modules


def test_the_hosts_are_forked_before_the_modules_of_http_are_imported() -> None:
    # The main process imports these while the hosts import torch, which takes longer.
    modules = imported("import service.server")
    assert "service.workers.worker" in modules
    later = ("service.http", "service.batching", "service.api_process")
    assert not [name for name in modules if name.startswith(later)]
