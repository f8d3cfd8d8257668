"""`axon export` and `Model.export`: where files go, what is overwritten, and what is refused."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import safetensors.torch
from export_cases import module_of
from serving import make_store

import axon
from axon.cli import main
from axon.completion import whole_parser
from conversion.exporting.errors import ExportError
from conversion.exporting.export import export_model
from conversion.exporting.source_model import SourceModel
from models.checkpoint import read_header
from models.errors import AxonError, ModelNotFound
from models.store import Store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with three models, in an empty working folder."""
    made = make_store(tmp_path)
    monkeypatch.setenv("AXON_STORE", str(made.root))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return made


def names() -> set[str]:
    return {path.name for path in Path().iterdir()}


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["export", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_each_form_has_its_files(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "colours", "--to", "onnx"]) == 0
    assert capsys.readouterr().out == "wrote colours.onnx\n"
    assert main(["export", "colours@1", "--to", "torch"]) == 0
    assert capsys.readouterr().out == "wrote colours.py\nwrote colours.safetensors\n"
    assert main(["export", "price", "--to", "numpy", "--out", "cheap.py"]) == 0
    assert capsys.readouterr().out == "wrote cheap.py\n"
    files = {"colours.onnx", "colours.py", "colours.safetensors", "cheap.py"}
    assert names() == files
    properties = {entry.key: entry.value for entry in onnx.load("colours.onnx").metadata_props}
    assert properties["axon.digest"] == read_header(store.resolve("colours").path)["digest"]
    assert properties["axon.model"] == "colours"
    assert f"from price@1 ({read_header(store.resolve('price').path)['digest']})" in Path("cheap.py").read_text()


def test_a_file_is_overwritten_only_by_force(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "colours", "--to", "torch"]) == 0
    capsys.readouterr()
    Path("colours.py").write_text("mine")
    Path("colours.py").rename("kept.py")
    before = Path("colours.safetensors").read_bytes()
    assert refused(capsys, "price", "--to", "torch", "--out", "colours.py").startswith(
        "error: colours.safetensors exists: overwrite it (--force"
    )
    assert Path("colours.safetensors").read_bytes() == before
    assert not Path("colours.py").exists()
    assert main(["export", "price", "--to", "torch", "--out", "colours.py", "--force"]) == 0
    assert Path("colours.safetensors").read_bytes() != before
    assert names() == {"colours.py", "colours.safetensors", "kept.py"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nobody", "--to", "onnx"), "error: there is no model 'nobody'"),
        (("colours", "--to", "onnx", "--out", "model.pb"), "is neither a folder nor a name that ends with .onnx"),
        (("colours", "--to", "numpy", "--out", "nowhere/model.py"), "there is no folder nowhere: create it first"),
        (("colours", "--to", "numpy", "--out", "random.py"), "'random' is no name for a module of your own"),
        (("colours", "--to", "torch", "--out", "a-b.py"), "choose a_b.py, for example"),
        (("colours", "--to", "onnx", "--out", "/proc/model.onnx"), "cannot be written"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    arguments: tuple[str, ...], message: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments)
    assert names() == set()


def test_a_form_has_to_be_named(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["colours"], ["colours", "--to", "pmml"]):
        with pytest.raises(SystemExit) as ended:
            main(["export", *arguments])
        assert ended.value.code == 2
    assert "--to {onnx,torch,numpy}" in capsys.readouterr().err


def test_a_models_name_becomes_a_module_that_can_be_imported(store: Store, tmp_path: Path) -> None:
    checkpoint = store.load("colours").checkpoint
    for name, file in (
        ("a-b.c", "a_b_c.py"),
        ("1st", "model_1st.py"),
        ("numpy", "model_numpy.py"),
        ("csv", "model_csv.py"),
    ):
        model = SourceModel(checkpoint=checkpoint, name=name, axon_version="1")
        assert export_model(model, "numpy", tmp_path) == (tmp_path / file,)
    assert export_model(SourceModel(checkpoint=checkpoint, name="a-b.c", axon_version="1"), "onnx", tmp_path) == (
        tmp_path / "a-b.c.onnx",
    )


def test_a_loaded_and_a_trained_model_export_themselves(store: Store, tmp_path: Path) -> None:
    model = axon.load("mixed")
    assert model.export("mixed.onnx") == (Path("mixed.onnx"),)
    with pytest.raises(ExportError, match=r"mixed\.onnx exists"):
        model.export("mixed.onnx")
    assert model.export("mixed.onnx", force=True) == (Path("mixed.onnx"),)
    assert model.export(to="numpy") == (Path("mixed.py"),)
    assert model.export(tmp_path, to="torch") == (tmp_path / "mixed.py", tmp_path / "mixed.safetensors")
    with pytest.raises(ExportError, match="say to='onnx' or to='torch' or to='numpy'"):
        model.export("mixed.py")
    with pytest.raises(ExportError, match="a model goes out as onnx, torch, numpy, got 'pmml'"):
        model.export("mixed.py", to="pmml")
    assert issubclass(ExportError, AxonError)
    fitted = axon.fit("xor", epochs=1, progress=False)
    (path,) = fitted.export(tmp_path / "xor.onnx")
    assert "axon.digest" not in {entry.key for entry in onnx.load(path).metadata_props}


def test_no_file_is_left_behind_where_a_write_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"colours\.onnx cannot be written: No space left on device\."):
        axon.load("colours").export("colours.onnx")
    assert names() == set()
    with pytest.raises(ModelNotFound):
        axon.load("nobody")


def test_two_files_are_both_replaced_or_neither(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    axon.load("colours").export("model.py", to="torch")
    before = {name: Path(name).read_bytes() for name in names()}
    flushed = []

    def full_at_the_second(descriptor: int) -> None:
        flushed.append(descriptor)
        if len(flushed) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_at_the_second)
    with pytest.raises(ExportError, match=r"model\.py cannot be written: No space left on device\."):
        axon.load("price").export("model.py", to="torch", force=True)
    assert {name: Path(name).read_bytes() for name in names()} == before


def test_a_module_beside_the_tensors_of_another_model_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for model in ("colours", "price"):
        axon.load(model).export(f"{model}.py", to="torch")
    tensors = Path("colours.safetensors").read_bytes()
    colours = module_of(Path("colours.py"), "colours")
    assert colours.load().state_dict()
    Path("price.safetensors").replace("colours.safetensors")
    with pytest.raises(
        ValueError, match=r"colours\.safetensors has the tensors of price@1, another model: export both"
    ):
        colours.load()
    Path("own.safetensors").write_bytes(tensors)
    state = colours.load(Path("own.safetensors")).state_dict()
    safetensors.torch.save_file(state, "colours.safetensors")  # trained on, without a record of the origin
    assert colours.load().state_dict().keys() == state.keys()


def test_without_onnx_the_error_names_the_extra(store: Store, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['onnx'] = None\n"
        "from axon.cli import main\n"
        "code = main(['export', 'colours', '--to', 'onnx'])\n"
        "assert main(['export', 'colours', '--to', 'numpy']) == 0\n"
        "assert main(['export', 'colours', '--to', 'torch', '--force']) == 0\n"
        "assert not {'torch', 'onnx.helper', 'pandas'} & set(sys.modules)\n"
        "import axon\n"
        "model = axon.load('colours')\n"
        "model.export('some.py', to='numpy')\n"
        "try:\n    model.export('some.onnx')\n"
        "except ModuleNotFoundError as missing:\n    assert '[onnx]' in str(missing)\n"
        "else:\n    raise AssertionError\n"
        "sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 2, ran.stderr
    assert re.fullmatch(
        r"error: this needs the part 'onnx' of Axon, and 'onnx' is not installed: pip install '.*\[onnx\]'.*\.\n",
        ran.stderr,
    )


def test_the_command_is_listed_and_completed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert re.search(r"^    export +write a model as ONNX, PyTorch or NumPy$", capsys.readouterr().out, re.MULTILINE)
    (commands,) = [action for action in whole_parser()._actions if action.dest == "command"]
    assert "--to" in commands.choices["export"].format_help()  # type: ignore[index]
