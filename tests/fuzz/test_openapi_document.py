"""The OpenAPI document is true: schemathesis generates requests from the document and checks the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fuzzed_models import SECRET, document
from serving import Server, http_get, http_post

pytestmark = pytest.mark.faults

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def test_schemathesis_finds_nothing_that_the_document_does_not_say(locked: Server, tmp_path: Path) -> None:
    done = subprocess.run(
        [SCHEMATHESIS, "--config-file", CONFIG, "run", f"{locked.url}/openapi.json", "--no-color"],
        env={**os.environ, "AXON_FUZZ_KEY": SECRET},
        cwd=tmp_path,  # schemathesis stores examples for a later run here
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in done.stdout, done.stdout


def test_the_examples_in_the_document_are_answered(fuzzed: Server) -> None:
    body = document(fuzzed)["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        answer = http_post(f"{fuzzed.url}/predict", json=example["value"])
        assert answer.status_code == 200, answer.text
    for model in http_get(f"{fuzzed.url}/models").json()["models"]:
        example = http_get(f"{fuzzed.url}/models/{model['name']}").json()["example"]
        answer = http_post(f"{fuzzed.url}/predict", json=example)
        assert answer.status_code == 200, answer.text
