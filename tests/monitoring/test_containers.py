"""The containers of monitoring fit together: what Compose mounts is there, images are pinned, Grafana finds both."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from monitored import DASHBOARD_FILE, PROMETHEUS_FOLDER, ROOT, panels

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
PROVISIONING = ROOT / "deploy/grafana/provisioning"
SCRAPING: dict[str, Any] = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text(encoding="utf-8"))


def mounts(service: str) -> dict[str, Path]:
    """Returns the files and folders of the repository that a container sees, by their paths in the container."""
    found = {}
    for volume in SERVICES[service]["volumes"]:
        source, target, *mode = volume.split(":")
        if source.startswith("."):
            assert mode == ["ro"], volume
            found[target] = ROOT / source
    return found


def provisioned(kind: str) -> Any:
    [file] = (PROVISIONING / kind).iterdir()
    return yaml.safe_load(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("service", ["prometheus", "grafana"])
def test_what_is_mounted_is_there(service: str) -> None:
    assert mounts(service)
    for path in mounts(service).values():
        assert path.exists(), path


def test_the_images_of_others_are_pinned_to_a_release() -> None:
    images = [service["image"] for service in SERVICES.values() if "build" not in service]
    assert len(images) == 2
    assert all(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) for image in images)


def test_each_container_has_limits() -> None:
    assert len(SERVICES) == 4
    for name, service in SERVICES.items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits.keys() == {"memory", "cpus", "pids"}, name
        assert limits["pids"] == 1000
        assert re.fullmatch(r"(\$\{[A-Z]+_MEMORY:-)?\d+g\}?", limits["memory"]), name
        # A larger default would be refused on a machine with one core.
        assert re.fullmatch(r"1|\$\{[A-Z]+_CPUS:-0\}", limits["cpus"]), name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_grafana_starts_with_its_profile_only() -> None:
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"grafana"}
    assert SERVICES["grafana"]["profiles"] == ["dashboards"]


def test_prometheus_reads_the_rules_and_scrapes_the_job_of_the_rules() -> None:
    inside = Path("/etc/prometheus")
    assert mounts("prometheus") == {str(inside): PROMETHEUS_FOLDER}
    assert f"--config.file={inside / 'prometheus.yml'}" in SERVICES["prometheus"]["command"]
    assert [PROMETHEUS_FOLDER / name for name in SCRAPING["rule_files"]] == [PROMETHEUS_FOLDER / "axon.rules.yml"]
    [job] = SCRAPING["scrape_configs"]
    assert job["job_name"] == "axon"
    assert job["static_configs"] == [{"targets": ["service:8000"]}]
    assert SERVICES["service"]["ports"][0].endswith(":8000")


def test_grafana_has_one_source_of_data_which_is_prometheus() -> None:
    [source] = provisioned("datasources")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    # Grafana derives $__rate_interval from it.
    assert source["jsonData"]["timeInterval"] == SCRAPING["global"]["scrape_interval"]
    assert {panel["datasource"]["type"] for panel in panels()} == {source["type"]}


def test_grafana_finds_the_dashboard() -> None:
    [provider] = provisioned("dashboards")["providers"]
    folder = Path(provider["options"]["path"])
    assert provider["type"] == "file"
    seen = mounts("grafana")
    assert seen[str(folder / "axon.json")] == DASHBOARD_FILE
    for kind in ("datasources", "dashboards"):
        assert seen[f"/etc/grafana/provisioning/{kind}"] == PROVISIONING / kind
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert seen[home] == DASHBOARD_FILE


def test_nobody_can_log_in_to_grafana_and_grafana_calls_nobody() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    on = {"GF_AUTH_ANONYMOUS_ENABLED", "GF_AUTH_DISABLE_LOGIN_FORM", "GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"}
    on |= {"GF_PLUGINS_PREINSTALL_DISABLED"}
    off = {"GF_AUTH_BASIC_ENABLED", "GF_NEWS_NEWS_FEED_ENABLED", "GF_ANALYTICS_REPORTING_ENABLED"}
    off |= {"GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES"}
    assert {environment[name] for name in on} == {"true"}
    assert {environment[name] for name in off} == {"false"}


def has_compose() -> bool:
    """Returns True if Docker's command line with Compose is installed; a running engine is not needed."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
@pytest.mark.parametrize(
    ("profile", "services"), [([], {"training", "service", "prometheus"}), (["dashboards"], set(SERVICES))]
)
def test_compose_accepts_the_file(profile: list[str], services: set[str]) -> None:
    options = [option for name in profile for option in ("--profile", name)]
    command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), *options, "config", "--services"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == services
