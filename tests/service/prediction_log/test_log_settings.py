"""The start with a log of predictions: one sentence for what is missing, and no package that is not needed."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from models.prediction_log.folder import SPOOLS
from service import start_checks
from service.settings import Settings
from service.start_checks import StartError, check_start


def settings(folder: Path, **more: Any) -> Settings:
    given = {f"prediction_log_{name}": value for name, value in more.items()}
    return Settings(prediction_log=folder, store=Path("nowhere"), **given)


def test_the_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    check_start(settings(tmp_path / "a" / "log"))
    assert (tmp_path / "a" / "log" / SPOOLS).is_dir()
    assert not list((tmp_path / "a" / "log" / SPOOLS).iterdir())


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StartError, match=r"AXON_PREDICTION_LOG: .*/file/log cannot be written to: a part of it is a file"
    ):
        check_start(settings(tmp_path / "file" / "log"))


def test_a_missing_pyarrow_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_pyarrow(name: str, *arguments: Any) -> Any:
        return None if name == "pyarrow" else find_spec(name, *arguments)

    monkeypatch.setattr(start_checks, "find_spec", without_pyarrow)
    with pytest.raises(StartError, match=r"AXON_PREDICTION_LOG: the log needs .* pip install 'axon\[service,log\]'"):
        check_start(settings(tmp_path / "log"))
    check_start(Settings(store=tmp_path / "store"))


@pytest.mark.parametrize(
    ("name", "value"), [("sample", 0), ("sample", 1.1), ("sample", "nan"), ("bytes", 1000), ("seconds", 0)]
)
def test_values_out_of_range_are_refused(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=f"prediction_log_{name}"):
        settings(tmp_path / "log", **{name: value})


def test_names_of_columns_are_between_commas(tmp_path: Path) -> None:
    found = settings(tmp_path / "log", omit=" date of birth, ssn ,,income ")
    assert found.prediction_log_columns_left_out == ("date of birth", "ssn", "income")


@pytest.mark.slow
def test_no_process_of_the_server_imports_pyarrow_and_none_the_log_without_need() -> None:
    code = "import sys, service.server, service.http.asgi, service.api_process; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "service.api_process" in names
    assert not [name for name in names if name.startswith(("pyarrow", "service.prediction_log"))]
    code = "import sys, service.prediction_log.log; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "pyarrow" not in names
