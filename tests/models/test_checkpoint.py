"""A checkpoint: what is written is read, the same bytes each time, and a file that is not sound is found out."""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from models.checkpoint import METADATA_KEY, Checkpoint, load_checkpoint, read_header, save_checkpoint
from models.config import MLPConfig
from models.errors import CheckpointError, ConfigError
from models.mlp import MLP
from models.schema import CategoricalColumn, ClassTarget, NumericColumn, Schema

SCHEMA = Schema(
    columns=(
        NumericColumn(name="größe", mean=1.5, std=0.5, minimum=0.0, maximum=3.0),
        CategoricalColumn(name="city", categories=("Rome", "Oslo")),
    ),
    target=ClassTarget(name="y", labels=("no", "yes")),
)
CONFIG = MLPConfig(layer_sizes=(3, 5, 2), normalization="batch", dropout=0.1)


def make() -> Checkpoint:
    tensors = MLP(CONFIG, generator=torch.Generator().manual_seed(0)).to_tensors()
    training = {"engine": "torch", "seed": 0, "history": {"loss": [0.5, 0.25]}}
    return Checkpoint(config=CONFIG, schema=SCHEMA, tensors=tensors, training=training, data={"name": "Ünïcode"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_checkpoint(make(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def rewritten(path: Path, change: dict[str, Any], tensors: dict[str, Any] | None = None) -> Path:
    """The file with another header or other tensors, and a digest that fits them."""
    from models.checkpoint import _canonical, _digest

    kept = tensors if tensors is not None else safetensors.numpy.load(path.read_bytes())
    header = read_header(path)
    del header["digest"]
    header |= change
    text = _canonical(header | {"digest": _digest(header, kept)})
    path.write_bytes(safetensors.numpy.save(kept, metadata={METADATA_KEY: text}))
    return path


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_what_is_written_is_read(path: Path) -> None:
    original, loaded = make(), load_checkpoint(path).checkpoint
    assert (loaded.config, loaded.schema, loaded.training, loaded.data) == (
        original.config,
        original.schema,
        original.training,
        original.data,
    )
    assert loaded.tensors.keys() == original.tensors.keys()
    for name, tensor in original.tensors.items():
        np.testing.assert_array_equal(loaded.tensors[name], tensor)
    assert read_header(path)["digest"] == load_checkpoint(path).digest


def test_the_same_checkpoint_gives_the_same_bytes_in_any_process(path: Path, tmp_path: Path) -> None:
    save_checkpoint(make(), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == path.read_bytes()
    code = (
        "import sys; from pathlib import Path; from models.checkpoint import *;"
        "save_checkpoint(load_checkpoint(Path(sys.argv[1])).checkpoint, Path(sys.argv[2]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", code, path, tmp_path / "other"], env=environment, check=True, timeout=60)
    assert (tmp_path / "other").read_bytes() == path.read_bytes()


def test_one_metadata_key_and_float32_tensors_that_any_reader_takes(path: Path) -> None:
    with safetensors.safe_open(path, framework="np") as file:
        assert list(file.metadata()) == [METADATA_KEY]
        assert {name: file.get_tensor(name).shape for name in file.keys()} == CONFIG.tensor_shapes()  # noqa: SIM118


def test_no_byte_can_be_altered_unnoticed(path: Path) -> None:
    payload = path.read_bytes()
    original = make()
    for at in [*range(64), *range(64, len(payload), 37), len(payload) - 1]:
        for flip in (0x01, 0x80):
            altered = bytearray(payload)
            altered[at] ^= flip
            path.write_bytes(altered)
            try:
                loaded = load_checkpoint(path).checkpoint
            except CheckpointError:
                continue
            # Blanks between safetensors' own header and the tensors carry nothing.
            assert loaded.header() == original.header(), at
            for name, tensor in original.tensors.items():
                np.testing.assert_array_equal(loaded.tensors[name], tensor)


def test_no_truncation_goes_unnoticed(path: Path) -> None:
    payload = path.read_bytes()
    for length in [0, 1, 7, 8, 9, 100, len(payload) // 2, len(payload) - 4, len(payload) - 1]:
        path.write_bytes(payload[:length])
        assert refused(path)
    path.write_bytes(payload + b"\0")
    assert refused(path)


def test_foreign_files_are_told_apart(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(safetensors.numpy.save({"w": np.zeros(3, np.float32)}))
    assert "not one that Axon wrote" in refused(other)
    torch.save({"w": torch.zeros(3)}, other)
    assert "not a safetensors file" in refused(other)
    other.write_bytes(pickle.dumps({"w": 1}))
    assert "not a safetensors file" in refused(other)
    other.write_bytes(struct.pack("<Q", 2**60) + b"{}")
    assert "not a safetensors file" in refused(other)
    bomb = b"[" * 100_000
    other.write_bytes(struct.pack("<Q", len(bomb)) + bomb)
    assert "not a safetensors file" in refused(other)
    other.unlink()
    assert "cannot be read" in refused(other)
    other.mkdir()
    assert "cannot be read" in refused(other)


def test_a_newer_format_says_to_upgrade(path: Path) -> None:
    assert "upgrade" in refused(rewritten(path, {"format_version": 2}))


def test_a_right_digest_does_not_make_a_wrong_model_right(path: Path) -> None:
    tensors = safetensors.numpy.load(path.read_bytes())
    original = path.read_bytes()
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({}, tensors | {"layers.0.weight": np.zeros((5, 4), np.float32)}),
        ({}, tensors | {"extra": np.zeros(1, np.float32)}),
        ({}, {name: tensor for name, tensor in tensors.items() if name != "layers.1.bias"}),
        ({}, tensors | {"layers.1.bias": np.zeros(2, np.float64)}),
        ({}, tensors | {"layers.1.bias": np.float32([np.nan, 0])}),
        ({"architecture": {"layer_sizes": [3, 5, 3]}}, tensors),
        ({"architecture": {"layer_sizes": [3, 5, 2], "gpu": 1}}, tensors),
        ({"architecture": 3}, tensors),
        ({"columns": []}, tensors),
        ({"columns": [{"kind": "numeric"}]}, tensors),
        ({"target": {"kind": "class", "name": "y", "labels": ["a", "b", "c"]}}, tensors),
        ({"training": []}, tensors),
    ]
    for change, kept in cases:
        path.write_bytes(original)
        assert "inconsistent" in refused(rewritten(path, change, kept)), change


def test_what_json_cannot_say_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    for training in ({"loss": float("nan")}, {"model": object()}):
        with pytest.raises(CheckpointError, match="JSON"):
            save_checkpoint(replace(make(), training=training), tmp_path / "model")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="not finite"):
        replace(make(), tensors={**make().tensors, "layers.1.bias": np.float32([np.inf, 0])})


def test_a_full_disk_or_a_missing_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(make(), tmp_path / "file" / "model")
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(make(), tmp_path / "nowhere" / "model")


@pytest.mark.slow
def test_a_killed_writer_leaves_the_old_file_whole(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.checkpoint import *;"
        "path = Path(sys.argv[1]); checkpoint = load_checkpoint(path).checkpoint; print('go', flush=True)\n"
        "while True: save_checkpoint(checkpoint, path)"
    )
    expected = path.read_bytes()
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline()
            writer.send_signal(signal.SIGKILL)
        assert path.read_bytes() == expected


def test_the_header_alone_needs_no_tensors(path: Path) -> None:
    payload = path.read_bytes()
    (length,) = struct.unpack_from("<Q", payload)
    path.write_bytes(payload[: 8 + length])
    assert read_header(path)["architecture"]["layer_sizes"] == [3, 5, 2]
    assert json.loads(payload[8 : 8 + length])["__metadata__"].keys() == {METADATA_KEY}
