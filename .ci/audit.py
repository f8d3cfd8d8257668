"""Checks the pins of constraints.txt for known vulnerabilities with pip-audit: `make audit`.

The audit fails if a vulnerability is known. If the database cannot be reached, as on a machine without a network, the
audit checks nothing, says so in a sentence and passes, since the code is not at fault. Arguments are passed on to
pip-audit.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parents[1] / "constraints.txt"
PROBE = "pip==26.0"  # a package that the database certainly contains

# Known vulnerabilities that do not affect Axon: the identifier, and the reason.
ACCEPTED: dict[str, str] = {}

_SOCKET_SECONDS = 10
_WHOLE_SECONDS = 60
_UNREACHABLE = re.compile(r"ConnectionError|ServiceError|[Cc]ould not connect|requests\.exceptions|[Tt]imed? ?out")


class Unreachable(Exception):
    """The vulnerability database cannot be queried."""


def main(arguments: list[str]) -> int:
    """Runs the audit and returns the exit code."""
    try:
        # One package first: a mirror without the database reports each package as unknown, and is slow at it.
        if "skip_reason" in _ask(PROBE, arguments)[0]:
            raise Unreachable("the vulnerability database is not where it should be")
        dependencies = _ask(PINS.read_text(encoding="utf-8"), arguments)
    except Unreachable as reason:
        print(f"audit: skipped, nothing was checked: {reason}.")
        return 0
    return _judge(dependencies)


def _ask(requirements: str, arguments: list[str]) -> list[dict[str, Any]]:
    """Returns pip-audit's record of each pinned package; ends the program if pip-audit fails.

    Raises:
        Unreachable: the database cannot be reached, or does not answer in time.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write(requirements)
        file.flush()
        command = [sys.executable, "-m", "pip_audit", "--requirement", file.name, "--disable-pip", "--no-deps"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", str(_SOCKET_SECONDS), *arguments]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=_WHOLE_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise Unreachable(f"the vulnerability database did not answer within {_WHOLE_SECONDS} s") from None
    if run.stdout.strip():
        dependencies: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
        return dependencies
    if _UNREACHABLE.search((run.stderr.strip().splitlines() or [""])[-1]):
        raise Unreachable("the vulnerability database cannot be reached")
    sys.exit(f"audit: pip-audit failed.\n{run.stderr}")


def _judge(dependencies: list[dict[str, Any]]) -> int:
    unknown = [dependency["name"] for dependency in dependencies if "skip_reason" in dependency]
    found = 0
    for dependency in dependencies:
        for fault in dependency.get("vulns", []):
            if fault["id"] not in ACCEPTED:
                mended = ", ".join(fault.get("fix_versions", [])) or "no version yet"
                print(f"audit: {dependency['name']} {dependency['version']}: {fault['id']}; mended in {mended}")
                found += 1
    if unknown:
        print(f"audit: not in the database, so not checked: {', '.join(unknown)}")
    print(f"audit: {len(dependencies) - len(unknown)} pinned packages checked; known vulnerabilities: {found}.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
