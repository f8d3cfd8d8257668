"""ONNX files over HTTP: each answers a thousand rows as ONNX Runtime does, from one server over one store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx_cases import CASES, ROWS, Case, runtime_answers
from serving import Server, http_get, http_post, running

from axon.cli import main

pytestmark = pytest.mark.slow

PROBABILITY_BOUND = 1e-6
VALUE_BOUND = 1e-5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a store with all files."""
    folder = tmp_path_factory.mktemp("onnx")
    for case in CASES:
        command = ["import", str(case.path), "--store", str(folder / "store"), "--name", case.file, *case.options]
        assert main(command) == 0, case.file
    with running(folder / "store", folder) as started:
        yield started


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.file)
def test_an_onnx_file_answers_a_thousand_rows_as_onnx_runtime_does(server: Server, case: Case) -> None:
    table = case.rows()
    names = [column["name"] for column in http_get(f"{server.url}/models/{case.file}").json()["columns"]]
    assert names == list(table)
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(*table.values(), strict=True)]
    answer = http_post(f"{server.url}/predict", json={"model": case.file, "instances": rows}, timeout=60)
    assert answer.status_code == 200, answer.text[:500]
    got, expected = answer.json(), runtime_answers(case, table)
    assert len(got["predictions"]) == ROWS
    if case.answer == "label":
        assert got["predictions"] == expected.tolist()
    elif case.answer == "value":
        apart = np.abs(np.array(got["predictions"]) - expected)
        assert apart.max() <= VALUE_BOUND * expected.std()
    else:
        assert np.abs(np.array(got["probabilities"]) - expected).max() <= PROBABILITY_BOUND
        best = np.sort(expected, axis=1)
        clear = np.flatnonzero(best[:, -1] - best[:, -2] > PROBABILITY_BOUND)
        labels = [case.labels[place] for place in expected.argmax(axis=1)]
        assert [got["predictions"][row] for row in clear] == [labels[row] for row in clear]
        assert {type(label) for label in got["predictions"]} == {type(label) for label in labels}


def test_the_files_are_of_torch_and_of_skl2onnx_and_of_old_and_new_opsets(server: Server) -> None:
    sources = [http_get(f"{server.url}/models/{case.file}").json()["training"] for case in CASES]
    assert {source["imported_from"] for source in sources} == {"onnx"}
    producers = [source["producer"] or "" for source in sources]
    assert sum(producer.startswith("pytorch") for producer in producers) == 8 + 1  # one with external weights
    assert sum(producer.startswith("skl2onnx") for producer in producers) == 11
    opsets = {source["opsets"]["ai.onnx"] for source in sources}
    assert min(opsets) == 9
    assert max(opsets) >= 21


def test_only_the_folder_of_a_file_holds_its_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = next(case for case in CASES if case.file == "torch-external").path.read_bytes()
    (tmp_path / "alone.onnx").write_bytes(content)
    assert main(["import", str(tmp_path / "alone.onnx"), "--store", str(tmp_path / "store")]) == 2
    assert "weights.bin" in capsys.readouterr().err
    assert not list((tmp_path / "store").glob("*/1"))
