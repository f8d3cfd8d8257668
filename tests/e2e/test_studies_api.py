"""The routes of studies on a running server: results that `axon study --publish` wrote, plots, keys and faults."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from serving import Server, http_get, make_store, running

from models.study_record import STUDIES_FOLDER, publish_study, read_study
from training.cli import main
from training.studies import xor

SECRETS = {scope: f"axon_studies-{scope}" for scope in ("predict", "read")}
READ = {"X-API-Key": SECRETS["read"]}


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server with keys, over a store with the results of two studies and a damaged one."""
    folder = tmp_path_factory.mktemp("studied")
    store = make_store(folder)
    for name, plot in (("xor", "xor.svg"), ("perceptron", "perceptron.png")):
        shown = ["--quick", "--plot", str(folder / plot), "--publish", "--store", str(store.root)]
        assert main(["study", name, *shown]) in (0, None)
    (store.root / STUDIES_FOLDER / "damaged.json").write_text("{")
    keys = " ".join(f"{scope}:{scope}:{sha256(secret.encode()).hexdigest()}" for scope, secret in SECRETS.items())
    with running(store.root, folder, api_keys=keys) as server:
        yield server, folder


def test_the_list_has_claims_and_verdicts_and_names_what_is_damaged(studied: tuple[Server, Path]) -> None:
    server, _ = studied
    document = http_get(f"{server.url}/studies", headers=READ).json()
    assert [study["name"] for study in document["studies"]] == ["perceptron", "xor"]
    assert document["studies"][1]["claim"] == xor.XorResult.claim
    assert document["studies"][1]["verdict"] == xor.run(quick=True).verdict
    assert (document["studies"][1]["holds"], document["studies"][1]["quick"]) == (True, True)
    assert document["problems"].keys() == {"damaged"}


def test_a_study_has_the_tables_of_its_run(studied: tuple[Server, Path]) -> None:
    server, _ = studied
    document = http_get(f"{server.url}/studies/xor", headers=READ).json()
    assert document["tables"] == [table.to_dict() for table in xor.run(quick=True).tables()]
    assert document["explanation"].startswith("A perceptron cuts the plane")


def test_a_plot_is_an_image_that_runs_nothing(studied: tuple[Server, Path]) -> None:
    server, folder = studied
    for name, file, media_type in (
        ("xor", "xor.svg", "image/svg+xml"),
        ("perceptron", "perceptron.png", "image/png"),
    ):
        answer = http_get(f"{server.url}/studies/{name}/plot", headers=READ)
        assert answer.content == (folder / file).read_bytes()
        assert answer.headers["content-type"] == media_type
        assert answer.headers["x-content-type-options"] == "nosniff"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "sandbox" in policy
        assert "script" not in policy


@pytest.mark.parametrize("path", ["/studies", "/studies/xor", "/studies/xor/plot"])
def test_a_key_for_reading_is_needed(studied: tuple[Server, Path], path: str) -> None:
    server, _ = studied
    assert http_get(f"{server.url}{path}").status_code == 401
    assert http_get(f"{server.url}{path}", headers={"X-API-Key": SECRETS["predict"]}).status_code == 403


@pytest.mark.parametrize(
    "name", ["nobody", "..%2f..%2fetc%2fpasswd", "%2e%2e", "xor.json", "XOR", "x" * 500, "%00", "damaged%0a"]
)
def test_a_study_that_is_not_there_is_404(studied: tuple[Server, Path], name: str) -> None:
    server, _ = studied
    for path in (f"/studies/{name}", f"/studies/{name}/plot"):
        answer = http_get(f"{server.url}{path}", headers=READ)
        assert answer.status_code == 404, path
        assert answer.json()["type"] == "urn:axon:problem:not-found"


def test_a_damaged_record_is_503_and_says_why(studied: tuple[Server, Path]) -> None:
    server, folder = studied
    answer = http_get(f"{server.url}/studies/damaged", headers=READ)
    assert answer.status_code == 503
    assert "damaged.json is not JSON" in answer.json()["detail"]
    assert str(folder) not in answer.text


def test_a_plot_that_is_gone_is_404(studied: tuple[Server, Path], tmp_path: Path) -> None:
    server, _ = studied
    root = Path(server.environment["AXON_STORE"])
    record = read_study(root, "xor")
    assert record is not None
    plot = root / STUDIES_FOLDER / "xor.svg"
    content = plot.read_bytes()
    plot.unlink()
    try:
        assert http_get(f"{server.url}/studies/xor/plot", headers=READ).status_code == 404
    finally:
        publish_study(root, record, content)
