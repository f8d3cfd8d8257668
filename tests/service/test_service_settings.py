"""Settings come from the environment, and a wrong one is named before anything starts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from service.__main__ import main
from service.settings import Settings


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("PORT", "0", "1"),
        ("PORT", "65536", "65535"),
        ("HOST", "", "match"),
        ("SOCKET_MODE", "rw", "match"),
        ("TLS_KEY", "key.pem", "AXON_TLS_CERTIFICATE"),
        ("PORT", "http", "integer"),
        ("WORKERS", "0", "1"),
        ("DEVICE", "tpu", "cuda"),
        ("TIMEOUT_SECONDS", "nan", "finite"),
        ("TIMEOUT_SECONDS", "301", "AXON_MAX_TIMEOUT_SECONDS"),
        ("MAX_REQUEST_ROWS", "100001", "AXON_MAX_QUEUE_ROWS"),
        ("LOG_LEVEL", "loud", "warning"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_with_code_2(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"AXON_{name}", value)
    assert main([]) == 2
    said = capsys.readouterr().err
    assert f"AXON_{name}" in said
    assert words in said


def test_settings_are_read_from_the_environment_and_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_MAX_BATCH_ROWS", "12")
    settings = Settings()
    assert settings.max_batch_rows == 12
    with pytest.raises(ValidationError):
        settings.port = 9000  # type: ignore[misc]


def test_help_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"AXON_{name.upper()} " in said for name in Settings.model_fields)
