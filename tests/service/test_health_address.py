"""The address of a health check is that of the settings, although the settings are not read."""

from __future__ import annotations

import subprocess
import sys

import pytest

from service.environment import read_settings
from service.health import ServerAddress

CERTIFICATE = {"AXON_TLS_CERTIFICATE": "/tls/cert.pem", "AXON_TLS_KEY": "/tls/key.pem"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"AXON_PORT": "1"},
        {"AXON_PORT": "65535", "AXON_HOST": "::"},
        {"AXON_HOST": "axon.internal", "AXON_STORE": "/models"},
        {"AXON_SOCKET": "/run/axon.sock", "AXON_PORT": "9000"},
        CERTIFICATE,
    ],
)
def test_a_plain_address_is_that_of_the_settings(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    address = ServerAddress.read(environment)
    assert address is not None
    assert address == ServerAddress.of(read_settings(environment))


@pytest.mark.parametrize(
    "environment",
    [
        {"AXON_PORT": "tcp://10.0.0.1:8000"},
        {"AXON_PORT": "65536"},
        {"AXON_PORT": "0"},
        {"AXON_PORT": " 80"},
        {"AXON_PORT": "eighty"},
        {"AXON_PORT": "\u0661"},
        {"axon_port": "9000"},
        {"AXON_PORT": "8000", "Axon_Port": "9000"},
        {"AXON_HOST": "[::1]"},
        {"AXON_HOST": ""},
        {"AXON_SOCKET": ""},
    ],
)
def test_what_is_not_plain_is_left_to_the_settings(environment: dict[str, str]) -> None:
    assert ServerAddress.read(environment) is None


def test_a_health_check_imports_no_library() -> None:
    code = (
        "import sys; from service.__main__ import main; code = main(['health', '--live']);"
        "print(code, *{name.partition('.')[0] for name in sys.modules} & {'pydantic', 'numpy', 'fastapi', 'torch'})"
    )
    environment = {"AXON_SOCKET": "/absent/axon.sock", "PATH": "/usr/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert done.stderr.startswith("axon-serve: /absent/axon.sock does not answer: ")
