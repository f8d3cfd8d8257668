"""Environment variables that are not settings: misspelt ones end the start, an orchestrator's service links do not."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from service.__main__ import main
from service.environment import SettingsError, read_settings, service_links
from service.settings import Settings

# From the documentation of Kubernetes (Services, discovering services), for a Service of each name.
LINKS = {
    "{}_SERVICE_HOST": "10.0.0.11",
    "{}_SERVICE_PORT": "8000",
    "{}_SERVICE_PORT_HTTP": "8000",
    "{}_SERVICE_PORT_HTTP_METRICS": "9090",
    "{}_PORT": "tcp://10.0.0.11:8000",
    "{}_PORT_8000_TCP": "tcp://10.0.0.11:8000",
    "{}_PORT_8000_TCP_PROTO": "tcp",
    "{}_PORT_8000_TCP_PORT": "8000",
    "{}_PORT_8000_TCP_ADDR": "10.0.0.11",
    "{}_PORT_53_UDP": "udp://10.0.0.11:53",
    "{}_PORT_53_UDP_ADDR": "10.0.0.11",
}


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment without variables of Axon."""
    for name in [name for name in os.environ if name.upper().startswith("AXON_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("service", ["AXON", "AXON_API", "AXON_WORKERS", "AXON_2", "AXON_MY_PORT"])
def test_links_of_a_kubernetes_service_are_passed_over(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    links = {name.format(service): value for name, value in LINKS.items()}
    for name, value in links.items():
        monkeypatch.setenv(name, value)
    settings = read_settings(os.environ)
    assert settings == Settings()
    assert settings.port == Settings.model_fields["port"].default
    assert service_links(os.environ) == sorted(links)


def test_links_of_docker_are_passed_over() -> None:
    links = {"AXON_NAME": "/web/axon", "AXON_PORT": "tcp://172.17.0.5:8000", "AXON_ENV_PYTHON_VERSION": "3.11"}
    assert service_links(links) == sorted(links)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("AXON_API_KEY_FILE", "AXON_API_KEYS_FILE"),
        ("AXON_API_KEY", "AXON_API_KEYS"),
        ("AXON_APIKEYS_FILE", "AXON_API_KEYS_FILE"),
        ("AXON_WORKER", "AXON_WORKERS"),
        ("AXON_TIMEOUT", "AXON_TIMEOUT_SECONDS"),
        ("AXON_STORES", "AXON_STORE"),
        ("axon_max_body_byte", "AXON_MAX_BODY_BYTES"),
        ("AXON_HTTP_PORT", "AXON_PORT"),
        ("AXON_ACCESSLOG", "AXON_ACCESS_LOG"),
    ],
)
def test_a_variable_that_is_no_setting_ends_the_start_and_names_the_nearest(
    name: str, nearest: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "axon_this-may-be-a-secret")
    assert main([]) == 2
    [sentence] = capsys.readouterr().err.splitlines()
    assert sentence == f"axon-serve: {name}: there is no such setting; did you mean {nearest}?"


def test_a_variable_like_no_setting_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AXON_QQQ", "1")
    monkeypatch.setenv("AXON_PORT", "no number")
    assert main([]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "AXON_QQQ" in first
    assert "--help" in first
    assert "AXON_PORT" in second


def test_names_of_the_tests_and_of_compose_are_no_fault() -> None:
    others = dict.fromkeys(
        [
            "AXON_CLIENT_KEY",
            "AXON_PUBLISHED_PORT",
            "AXON_SOAK_SECONDS",
            "AXON_BENCH",
            "AXON_BENCH_CACHE",
            "AXON_FUZZ_SECONDS",
        ],
        "1",
    )
    assert read_settings(others | {"AXONE": "1", "PATH": "/bin"}) == Settings()


def test_no_variable_that_the_development_reads_ends_the_start_of_a_server() -> None:
    """Reads the names from the tests, the benchmarks and the Makefile, all of which start servers."""
    root = Path(__file__).parents[2]
    read = re.compile(r"""environ(?:\.get\(|\[)"(AXON_[A-Z_]+)""")
    files = [*root.glob("tests/**/*.py"), *root.glob("benchmarks/**/*.py")]
    names = {name for file in files for name in read.findall(file.read_text())}
    names |= set(re.findall("AXON_[A-Z_]+", (root / "Makefile").read_text()))
    assert "AXON_SOAK_SECONDS" in names
    unknown = []
    for name in sorted(names - {f"AXON_{name.upper()}" for name in Settings.model_fields}):
        try:
            read_settings({name: "1"})
        except SettingsError:
            unknown.append(name)
    assert not unknown


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_number_has_an_upper_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if Settings.model_fields[name].annotation not in (int, float):
        return
    for value in ("1e300" if Settings.model_fields[name].annotation is float else str(10**18), "-1"):
        monkeypatch.setenv(f"AXON_{name.upper()}", value)
        with pytest.raises(SettingsError) as caught:
            read_settings(os.environ)
        [sentence] = caught.value.sentences
        assert re.match(rf"AXON_{name.upper()}: .* \d", sentence), sentence


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ROOT_PATH", "https://example.org/axon", "not a path"),
        ("ROOT_PATH", "/a/../b", "not a path"),
        ("ROOT_PATH", "/axon?x=1", "not a path"),
        ("ROOT_PATH", "/models", "path of the API"),
        ("CORS_ORIGINS", "https://example.org/app", "not an origin"),
        ("CORS_ORIGINS", "example.org", "not an origin"),
        ("CORS_ORIGINS", "* https://example.org", "leave the others out"),
        ("STORE", "", "empty"),
        ("RUNTIME_DIR", " ", "empty"),
        ("FORWARDED_HEADER", "x-real-ip", "forwarded"),
    ],
)
def test_a_wrong_text_is_told(name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AXON_{name}", value)
    with pytest.raises(SettingsError) as caught:
        read_settings(os.environ)
    [sentence] = caught.value.sentences
    assert sentence.startswith(f"AXON_{name}: ")
    assert words in sentence


@pytest.mark.parametrize(("given", "kept"), [("/axon/", "/axon"), ("axon", "/axon"), ("/", ""), ("/v1/ml", "/v1/ml")])
def test_a_root_path_is_kept_in_one_form(given: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXON_ROOT_PATH", given)
    assert read_settings(os.environ).root_path == kept
