"""`axon sbom` writes a document that CycloneDX's own schema accepts, with every package that pip lists."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import cyclonedx.schema
import jsonschema_rs
import pytest
from ensembles import ensemble
from serving import CHECKPOINTS

from axon.cli import main
from axon.sbom.packages import python_packages, system_packages
from models.checkpoint import Checkpoint
from models.store import Store

SCHEMAS = Path(cyclonedx.schema.__file__).parent / "_res"

Document = dict[str, Any]


def faults(document: Document) -> list[str]:
    """Returns what CycloneDX's schema 1.6 refuses in a document. The schema refuses unknown fields."""

    def read(name: str) -> Any:
        return json.loads((SCHEMAS / f"{name}.SNAPSHOT.schema.json").read_text(encoding="utf-8"))

    base = "http://cyclonedx.org/schema/"
    names = ("spdx", "jsf-0.82")
    registry = jsonschema_rs.Registry([(f"{base}{name}.SNAPSHOT.schema.json", read(name)) for name in names])
    schema = read("bom-1.6")
    validator = jsonschema_rs.validator_for(schema, registry=registry, validate_formats=True)
    return [f"{list(error.instance_path)}: {error.message[:300]}" for error in validator.iter_errors(document)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    price = CHECKPOINTS["price"]
    told = Checkpoint(
        config=price.config,
        schema=price.schema,
        tensors=price.tensors,
        training={"engine": "torch", "seed": 3, "learning_rate": 0.1},
        metrics={"test": {"rmse": 2.5, "rows": 10, "note": "x"}, "train": {"rmse": float(1)}},
        data={
            "name": "houses",
            "fingerprint": "sha256:00",
            "rows": 90,
            "split": {"test": 10},
            "examples": [{"area": 71}],
        },
    )
    store.publish("price", told)
    store.publish("colours", CHECKPOINTS["colours"])
    return store


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Document:
    """The document of this installation, without a model."""
    return bill(tmp_path_factory.mktemp("bill") / "bom.json")


def bill(path: Path, *words: str) -> Document:
    assert main(["sbom", *words, "--out", str(path)]) == 0
    document: Document = json.loads(path.read_text(encoding="utf-8"))
    return document


def test_the_schema_accepts_the_document_and_would_refuse_another(store: Store, tmp_path: Path) -> None:
    models = ("price@1", "price", "colours")
    document = bill(tmp_path / "bom.json", *models, "--store", str(store.root), "--system")
    assert faults(document) == []
    assert [one["name"] for one in document["components"] if one["type"] == "machine-learning-model"] == [
        "colours",
        "price",
    ]
    refs = [one["bom-ref"] for one in document["components"]]
    assert len(refs) == len(set(refs))
    known = {*refs, document["metadata"]["component"]["bom-ref"]}
    assert all(known >= {edge["ref"], *edge["dependsOn"]} for edge in document["dependencies"])
    document["components"][0]["colour"] = "red"
    assert any("colour" in fault for fault in faults(document))
    del document["components"][0]["colour"]
    document["components"][0]["type"] = "thing"
    assert faults(document)


@pytest.mark.slow
def test_every_package_that_pip_lists_is_there_with_its_version(whole: Document) -> None:
    command = [sys.executable, "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=120).stdout)
    wanted = {one["name"].lower().replace("_", "-").replace(".", "-"): one["version"] for one in listed}
    found = {
        one["purl"].removeprefix("pkg:pypi/").partition("@")[0]: one["version"]
        for one in [whole["metadata"]["component"], *whole["components"]]
        if one["purl"].startswith("pkg:pypi/")
    }
    assert found.items() >= {name: version for name, version in wanted.items() if name != "axon"}.items()
    torch = next(one for one in whole["components"] if one["name"] == "torch")
    assert torch["licenses"]
    edges = {edge["ref"]: edge["dependsOn"] for edge in whole["dependencies"]}
    assert any(ref.startswith("pkg:pypi/sympy@") for ref in edges[torch["bom-ref"]])


def test_a_model_is_there_with_its_bytes_its_table_and_its_metrics_but_no_row(store: Store, tmp_path: Path) -> None:
    document = bill(tmp_path / "bom.json", "price", "--store", str(store.root))
    (model,) = [one for one in document["components"] if one["type"] == "machine-learning-model"]
    content = store.resolve("price").path.read_bytes()
    assert model["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
    properties = {one["name"]: one["value"] for one in model["properties"]}
    assert properties["axon:digest"] == store.load("price").digest
    assert (properties["axon:training:engine"], properties["axon:training:seed"]) == ("torch", "3")
    parameters = model["modelCard"]["modelParameters"]
    assert parameters["task"] == "regression"
    assert parameters["inputs"] == [{"format": "area: numeric"}, {"format": "rooms: numeric"}]
    (data,) = parameters["datasets"]
    facts = {one["name"]: one["value"] for one in data["contents"]["properties"]}
    assert (data["name"], facts["axon:data:rows"], facts["axon:data:rows:test"]) == ("houses", "90", "10")
    assert "71" not in facts.values()
    assert model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"] == [
        {"type": "rmse", "value": "2.5", "slice": "test"},
        {"type": "rmse", "value": "1.0", "slice": "train"},
    ]


@pytest.mark.parametrize(
    ("members", "weights", "distilled", "expected"),
    [
        (1, None, {"members": 5, "rows": 720, "figure": "rmse"}, {"axon:members": "1"}),
        (4, (3, 3, 1, 1), None, {"axon:members": "4", "axon:member_weights": "[3, 3, 1, 1]"}),
        (2, None, None, {"axon:members": "2"}),
    ],
)
def test_the_members_are_those_of_the_model_and_not_of_the_run(
    members: int,
    weights: tuple[int, ...] | None,
    distilled: dict[str, Any] | None,
    expected: dict[str, str],
    tmp_path: Path,
) -> None:
    store = Store(tmp_path / "store")
    training = {"engine": "torch", "members": 5} | ({} if distilled is None else {"distilled": distilled})
    store.publish(
        "price", replace(ensemble(CHECKPOINTS["price"].schema, members, 4, weights=weights), training=training)
    )
    document = bill(tmp_path / "bom.json", "price", "--store", str(store.root))
    (model,) = [one for one in document["components"] if one["type"] == "machine-learning-model"]
    found = {one["name"]: one["value"] for one in model["properties"]}
    assert {name: value for name, value in found.items() if "member" in name and "distilled" not in name} == expected
    facts = {name: value for name, value in found.items() if "distilled" in name}
    assert facts == (
        {"axon:training:distilled:members": "5", "axon:training:distilled:rows": "720"} if distilled else {}
    )


def test_the_same_installation_and_time_give_the_same_bytes(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = []
    for seconds, name in (("1700000000", "a"), ("1700000000", "b"), ("1700000001", "c")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
        bill(tmp_path / name, "price", "--store", str(store.root))
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1] != texts[2]
    assert json.loads(texts[0])["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("words", "seconds", "sentence"),
    [
        (["nowhere"], "0", "there is no model 'nowhere'"),
        (["price"], "yesterday", "SOURCE_DATE_EPOCH: 'yesterday' is not a number of seconds"),
        (["price", "--out", "/nowhere/bom.json"], "0", "/nowhere/bom.json cannot be written: No such file"),
    ],
)
def test_refusals_are_one_sentence(
    words: list[str],
    seconds: str,
    sentence: str,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", seconds)
    assert main(["sbom", *words, "--store", str(store.root)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert sentence in told
    assert told.count("\n") == 1


def test_the_packages_of_a_debian_system_are_read_from_its_own_list(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(
        "Package: zlib1g\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.2.13+dfsg-1\n"
        "Description: library\n Version: 9\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n"
    )
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    system, package = system_packages(tmp_path / "status", tmp_path / "os-release")
    assert (system.component["name"], system.component["version"]) == ("debian", "12")
    assert package.ref == "pkg:deb/debian/zlib1g@1%3A1.2.13%2Bdfsg-1?arch=amd64"
    assert package.component["version"] == "1:1.2.13+dfsg-1"
    assert [one.ref for one in system_packages(tmp_path / "no", tmp_path / "no")] == ["os:linux"]


class Told(Distribution):
    """A distribution with the metadata that a test gives."""

    def __init__(self, text: str) -> None:
        self._text = text

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("metadata", "licenses"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: other", [{"expression": "MIT OR Apache-2.0"}]),
        (
            "License: Apache\nClassifier: License :: OSI Approved :: MIT License",
            [{"license": {"name": "MIT License"}}],
        ),
        ("License: BSD", [{"license": {"name": "BSD"}}]),
        ("License: Copyright\n        all of the text", None),
        ("License: UNKNOWN", None),
        ("Summary: none", None),
    ],
)
def test_a_licence_is_what_the_package_states(metadata: str, licenses: Any) -> None:
    head = "Metadata-Version: 2.1\nName: One.Thing\nVersion: 1.0+local\n"
    needs = "Requires-Dist: other_one>=1 ; python_version > '3'\nRequires-Dist: left; extra == 'out'\n"
    first, second = Told(f"{head}{needs}{metadata}\n"), Told("Name: one-thing\nVersion: 2\n")
    (package,) = python_packages([first, second]).values()
    assert package.component.get("licenses") == licenses
    assert (package.ref, package.requires) == ("pkg:pypi/one-thing@1.0%2Blocal", ("other-one",))
