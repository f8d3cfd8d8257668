"""The start of a client script in its environment, and what the script reports."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from client_environments import client_environment, is_current
from served_models import request_document

CLIENTS = Path(__file__).parent / "clients"
LONGEST_SECONDS = 120

Reports = dict[str, Any]


def interpreter(environment: str | None, module: str) -> Path:
    """Returns the Python that has a client; skips the test where there is none.

    Args:
        environment: name of the client's environment, or None for the environment of the tests.
        module: module of the client.
    """
    if environment is None:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
        return Path(sys.executable)
    if not is_current(environment):
        pytest.skip(f"the environment {environment} is not there; `make interop` makes it")
    return client_environment(environment).python


def run_client(
    script: str,
    *arguments: str,
    module: str,
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
    longest_seconds: int = LONGEST_SECONDS,
) -> Reports:
    """Runs a script of `tests/interop/clients` to its end and returns its reports by the name of the call.

    Args:
        script: name of the script.
        arguments: arguments of the script; the rows to send come on standard input.
        module: module of the client.
        environment: name of the client's environment, or None for the environment of the tests.
        variables: environment variables of the script, beside those of the tests.
        longest_seconds: time after which the script is killed.
    """
    python = interpreter(environment, module)
    # Without proxies, which some clients would ask for the loopback interface too.
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [str(python), str(CLIENTS / f"{script}.py"), *arguments],
        input=json.dumps(request_document()),
        capture_output=True,
        text=True,
        env=clean | dict(variables or {}),
        timeout=longest_seconds,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    reports: Reports = {}
    for line in done.stdout.splitlines():
        report = json.loads(line)
        assert report["call"] not in reports, report["call"]
        reports[report["call"]] = report["report"]
    return reports
