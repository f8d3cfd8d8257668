"""The imports of an API process do not include torch, which only a worker needs."""

from __future__ import annotations

import subprocess
import sys


def test_an_api_process_does_without_torch() -> None:
    code = "import sys, service.server; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
