"""The OpenAPI document is true: the examples match real answers, and a generated client reads every answer."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from provoked import OPERATIONS, SECRETS, Answers, provoke, provoking
from serving import Server, http_get

from service.http.problems import MEDIA_TYPE
from service.http.schemas import ProblemDocument

# No client can cause these: a bug, and a server that is not ready, which has tests of its own.
NOT_PROVOKED = {(operation, 500) for operation in OPERATIONS if operation != "predict"} | {
    ("ready", 503),
    ("live", 503),
    ("scrape", 503),
}
BUG = "urn:axon:problem:internal"


@pytest.fixture(scope="module")
def provoked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, dict[str, Any], Answers]]:
    with provoking(tmp_path_factory.mktemp("provoked")) as server:
        document = http_get(f"{server.url}/openapi.json", headers={"X-API-Key": SECRETS["read"]}).json()
        yield server, document, provoke(server)


def responses_of(document: dict[str, Any]) -> dict[tuple[str, int], dict[str, Any]]:
    return {
        (operation["operationId"], int(status)): response
        for path in document["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
    }


def test_every_answer_is_in_the_document_and_every_one_in_it_is_given(
    provoked: tuple[Server, dict[str, Any], Answers],
) -> None:
    _, document, answers = provoked
    assert answers.keys() == responses_of(document).keys() - NOT_PROVOKED


def test_each_error_shows_an_example_of_its_own_that_is_like_a_real_answer(
    provoked: tuple[Server, dict[str, Any], Answers],
) -> None:
    _, document, answers = provoked
    for key, response in responses_of(document).items():
        if key[1] < 400 or key == ("ready", 503):
            continue
        [(media_type, content)] = response["content"].items()
        assert media_type == MEDIA_TYPE
        real = [answer.json() for answer in answers.get(key, [])]
        assert content["examples"], key
        for name, example in content["examples"].items():
            shown = example["value"]
            assert ProblemDocument.model_validate(shown).status == key[1]
            if key in NOT_PROVOKED or shown["type"] == BUG:
                continue
            alike = [one for one in real if one.keys() == shown.keys() and one["type"] == shown["type"]]
            assert alike, f"{key}: no answer is like {name!r}; there are {real}"
            assert all(one["title"] == shown["title"] for one in alike)
            kinds = [[fault.keys() for fault in one.get("errors", [])][:1] for one in alike]
            assert [fault.keys() for fault in shown.get("errors", [])] in kinds, key
        kinds_shown = {example["value"]["type"] for example in content["examples"].values()}
        assert {one["type"] for one in real} <= kinds_shown, key


@pytest.mark.skipif(find_spec("openapi_python_client") is None, reason="openapi-python-client is not installed")
def test_a_generated_client_reads_every_answer(
    provoked: tuple[Server, dict[str, Any], Answers], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, document, answers = provoked
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--path", "openapi.json"]
    done = subprocess.run([*generate, "--output-path", "axon_client"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "could not" not in (done.stdout + done.stderr).lower(), done.stdout
    monkeypatch.syspath_prepend(str(tmp_path))
    client = importlib.import_module("axon_client").Client(base_url=server.url, raise_on_unexpected_status=True)
    modules = {path.stem: path for path in (tmp_path / "axon_client/api").glob("*/*.py")}
    for (operation, status), given in answers.items():
        path = modules[operation]
        module = importlib.import_module(f"axon_client.api.{path.parent.name}.{path.stem}")
        for answer in given:
            parsed = module._parse_response(client=client, response=_unread(answer))
            assert parsed is not None, (operation, status)
            expected = answer.text if isinstance(parsed, str) else answer.json()
            assert (parsed if isinstance(parsed, str) else parsed.to_dict()) == expected, (operation, status)


def _unread(answer: httpx.Response) -> httpx.Response:
    return httpx.Response(
        answer.status_code, headers={"content-type": answer.headers["content-type"]}, content=answer.content
    )
