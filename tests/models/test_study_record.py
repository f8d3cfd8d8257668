"""Records of studies in a store: what is written is read again, and what is not a record is named."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from models.errors import DataError, StoreError
from models.store import Store
from models.study_record import (
    MOST_STUDIES,
    STUDIES_FOLDER,
    StudyRecord,
    publish_study,
    read_plot,
    read_studies,
    read_study,
)

PLOT = b'<svg xmlns="http://www.w3.org/2000/svg"/>'


def record(name: str = "xor", **other: Any) -> StudyRecord:
    fields: dict[str, Any] = {
        "name": name,
        "about": "can it?",
        "explanation": "A line <b>divides</b>.",
        "claim": "It can.",
        "holds": True,
        "verdict": "It did: 4 of 4.",
        "seed": 3,
        "quick": False,
        "ran": "2026-01-02T03:04:05Z",
        "tables": [{"title": "One", "rows": [{"step": 1, "loss": 0.5, "name": "a", "is": True, "none": None}]}],
        "diagrams": [{"title": "Two", "mermaid": "flowchart LR"}],
        "plot": "svg",
    }
    return StudyRecord(**fields | other)


def test_a_record_and_its_plot_are_read_as_they_were_written(tmp_path: Path) -> None:
    root = tmp_path / "store"
    path = publish_study(root, record(), PLOT)
    assert path == root / STUDIES_FOLDER / "xor.json"
    assert read_study(root, "xor") == record()
    assert read_plot(root, record()) == PLOT
    assert read_studies(root) == ([record()], {})
    assert sorted(place.name for place in (root / STUDIES_FOLDER).iterdir()) == ["xor.json", "xor.svg"]


def test_a_later_result_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    publish_study(tmp_path, record(), PLOT)
    later = record(holds=False, plot="png")
    publish_study(tmp_path, later, b"\x89PNG")
    assert read_studies(tmp_path) == ([later], {})
    assert read_plot(tmp_path, later) == b"\x89PNG"


def test_a_store_without_studies_has_none(tmp_path: Path) -> None:
    assert read_studies(tmp_path / "nowhere") == ([], {})
    assert read_study(tmp_path, "xor") is None
    assert read_plot(tmp_path, record()) is None


def test_studies_are_no_models(tmp_path: Path) -> None:
    publish_study(tmp_path, record(), PLOT)
    assert Store(tmp_path).entries() == []


@pytest.mark.parametrize("name", ["../xor", "Xor", "", "-xor", "x/y", "x" * 65, "xor\n", ".studies"])
def test_a_name_that_could_be_a_path_is_no_study(tmp_path: Path, name: str) -> None:
    publish_study(tmp_path, record(), PLOT)
    (tmp_path / "xor.json").write_text("{}")
    assert read_study(tmp_path, name) is None
    with pytest.raises(DataError, match="not the name of a study"):
        record(name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "xor.json is not JSON"),
        ("[1]", "a study's record is a JSON object"),
        ('{"name": "xor"}', "the field 'about' is missing"),
        (json.dumps(asdict(record()) | {"holds": 1}), "the field 'holds'"),
        (json.dumps(asdict(record()) | {"plot": "gif"}), "the field 'plot'"),
        (json.dumps(asdict(record()) | {"tables": [{"title": "t", "rows": [{"a": []}]}]}), "the field 'tables'"),
        (json.dumps(asdict(record()) | {"tables": [{"title": "t", "rows": [{"a": float("nan")}]}]}), "NaN"),
        (json.dumps(asdict(record()) | {"diagrams": [{"title": "t"}]}), "the field 'diagrams'"),
        (json.dumps(asdict(record("depth"))), "the record of 'depth'"),
        (" " * (1 << 20), "more than 524,288 bytes"),
        ("[" * 100_000, "xor.json is not JSON"),
    ],
)
def test_a_file_that_is_no_record_is_named_and_the_others_are_read(tmp_path: Path, content: str, said: str) -> None:
    publish_study(tmp_path, record("clusters"), PLOT)
    (tmp_path / STUDIES_FOLDER / "xor.json").write_text(content)
    records, problems = read_studies(tmp_path)
    assert [one.name for one in records] == ["clusters"]
    assert problems.keys() == {"xor"}
    assert said in problems["xor"]
    assert str(tmp_path) not in problems["xor"]


@pytest.mark.parametrize("what", ["record", "plot", "folder"])
def test_a_link_that_leads_out_of_the_store_is_refused(tmp_path: Path, what: str) -> None:
    root, outside = tmp_path / "store", tmp_path / "outside"
    publish_study(root, record(), PLOT)
    publish_study(outside, record(), b"secret")
    inside, elsewhere = root / STUDIES_FOLDER, outside / STUDIES_FOLDER
    if what == "folder":
        for place in inside.iterdir():
            place.unlink()
        inside.rmdir()
        inside.symlink_to(elsewhere)
    else:
        name = "xor.json" if what == "record" else "xor.svg"
        (inside / name).unlink()
        (inside / name).symlink_to(elsewhere / name)
    with pytest.raises(DataError, match="leads out of the store"):
        read_plot(root, record()) if what == "plot" else read_study(root, "xor")


def test_a_pipe_in_place_of_a_file_holds_nobody(tmp_path: Path) -> None:
    publish_study(tmp_path, record(), PLOT)
    path = tmp_path / STUDIES_FOLDER / "xor.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_study(tmp_path, "xor")


def test_a_folder_of_very_many_files_is_read_up_to_a_limit(tmp_path: Path) -> None:
    publish_study(tmp_path, record(), PLOT)
    text = json.dumps(asdict(record()))
    for number in range(MOST_STUDIES + 10):
        (tmp_path / STUDIES_FOLDER / f"a{number}.json").write_text(text.replace('"xor"', f'"a{number}"'))
    records, problems = read_studies(tmp_path)
    assert (len(records), problems) == (MOST_STUDIES, {})


def test_a_disk_that_refuses_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / STUDIES_FOLDER).mkdir()
    (tmp_path / STUDIES_FOLDER / "xor.json").mkdir()
    with pytest.raises(StoreError, match="cannot write to"):
        publish_study(tmp_path, record(), PLOT)
    assert sorted(place.name for place in (tmp_path / STUDIES_FOLDER).iterdir()) == ["xor.json", "xor.svg"]
