"""A checkpoint: the same content is read as was written, with the same bytes each time, and damage is detected."""

from __future__ import annotations

import ast
import copy
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from serving import SEVERAL, make_checkpoint

import models
from models.checkpoint import (
    FORMAT_VERSION,
    METADATA_KEY,
    Checkpoint,
    _canonical,
    _digest,
    load_checkpoint,
    read_header,
    save_checkpoint,
)
from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, NumericTarget, Schema
from models.errors import CheckpointError, ConfigError
from models.network.config import MLPConfig
from models.network.inputs import InputConfig
from models.network.mlp import MLP

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


def signed(header: dict[str, Any], tensors: dict[str, Any]) -> bytes:
    """Returns a file with the given header and tensors, even invalid ones, and a correct digest."""
    text = _canonical(header | {"digest": _digest(header, tensors)})
    return safetensors.numpy.save(tensors, metadata={METADATA_KEY: text})


def rewritten(path: Path, change: dict[str, Any], tensors: dict[str, Any] | None = None) -> Path:
    """Writes the file again with changes of the header or other tensors, and a correct digest."""
    kept = tensors if tensors is not None else safetensors.numpy.load(path.read_bytes())
    header = read_header(path)
    del header["digest"]
    path.write_bytes(signed(header | change, kept))
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
            # Blanks between safetensors' own header and the tensors have no meaning.
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


def test_only_weights_of_members_need_the_fourth_format(tmp_path: Path) -> None:
    stacked = {name: np.stack([tensor, tensor + 1, tensor]) for name, tensor in make().tensors.items()}
    for weights, version in ((None, 2), ((2, 1, 5), 4)):
        config = replace(CONFIG, members=3, member_weights=weights)
        save_checkpoint(replace(make(), config=config, tensors=stacked), tmp_path / "model")
        header = read_header(tmp_path / "model")
        assert header["format_version"] == version
        assert ("member_weights" in header["architecture"]) == (weights is not None)
        assert load_checkpoint(tmp_path / "model").checkpoint.config == config


def test_only_several_targets_need_the_fifth_format(tmp_path: Path) -> None:
    schema = Schema(columns=(NumericColumn(name="x", mean=0, std=1, minimum=-1, maximum=1),), target=SEVERAL)
    save_checkpoint(make_checkpoint(schema, 4, clamp=True), tmp_path / "model")
    header = read_header(tmp_path / "model")
    assert header["format_version"] == 5
    assert [one["name"] for one in header["target"]["targets"]] == ["rent", "sold", "cost"]
    assert load_checkpoint(tmp_path / "model").checkpoint.schema == schema


def test_only_declared_gaps_need_the_newest_format(tmp_path: Path) -> None:
    column = NumericColumn(name="x", mean=0, std=1, minimum=-1, maximum=1, missing="mean", gaps=(-999,))
    schema = Schema(columns=(column,), target=SEVERAL)
    save_checkpoint(make_checkpoint(schema, 4, clamp=True), tmp_path / "model")
    assert read_header(tmp_path / "model")["format_version"] == FORMAT_VERSION
    assert load_checkpoint(tmp_path / "model").checkpoint.schema == schema


def test_a_newer_format_says_to_upgrade(path: Path) -> None:
    assert "upgrade" in refused(rewritten(path, {"format_version": FORMAT_VERSION + 1}))


def test_a_file_of_the_first_format_is_read_as_it_was_meant(path: Path) -> None:
    # Version 1 had no inputs, members, temperature, learned activation or clamp, and fewer fields of columns.
    header, whole = read_header(path), load_checkpoint(path).checkpoint
    fields = ("layer_sizes", "activation", "output", "dropout", "normalization", "initialization", "bias")
    architecture = {name: header["architecture"][name] for name in fields}
    of_kind = {
        "numeric": ("kind", "name", "mean", "std", "minimum", "maximum", "missing", "origin"),
        "categorical": ("kind", "name", "categories", "unknown", "missing"),
    }
    columns = [{name: column[name] for name in of_kind[column["kind"]]} for column in header["columns"]]
    first = load_checkpoint(
        rewritten(path, {"format_version": 1, "architecture": architecture, "columns": columns})
    ).checkpoint
    assert (first.config, first.schema) == (whole.config, whole.schema)
    x = np.random.default_rng(0).normal(size=(5, first.schema.width)).astype(np.float32)
    np.testing.assert_array_equal(first.inference_network().forward(x), whole.inference_network().forward(x))


def test_an_index_that_the_network_would_not_look_up_is_refused() -> None:
    columns = (
        NumericColumn(name="a", mean=0, std=1, minimum=-1, maximum=1),
        CategoricalColumn(name="b", categories=("u", "v", "w"), encoding="index"),
    )
    schema = Schema(columns=columns, target=ClassTarget(name="y", labels=("n", "p")))

    def checkpoint(inputs: InputConfig | None) -> Checkpoint:
        config = MLPConfig(layer_sizes=(2, 3, 2), inputs=inputs)
        return Checkpoint(config=config, schema=schema, tensors=MLP(config).to_tensors())

    assert checkpoint(InputConfig(numbers=(0,), indices=(1,), categories=(3,))).config.inputs
    for inputs, message in (
        (None, "'b' is an index"),
        (InputConfig(numbers=(0, 1)), "feature 1 of a row is of kind index"),
        (InputConfig(numbers=(1,), indices=(0,), categories=(3,)), "feature 0 of a row is of kind number"),
        (InputConfig(numbers=(0,), indices=(1,), categories=(4,)), "its table is for 4"),
    ):
        with pytest.raises(ConfigError, match=message):
            checkpoint(inputs)


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


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def paths_in(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields every path into a nested value."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from paths_in(inner, (*path, key))


@pytest.mark.slow
def test_any_value_in_any_place_of_a_signed_header_is_read_or_refused_in_a_bounded_sentence(tmp_path: Path) -> None:
    values: list[Any] = [None, True, -1, 2, 10**400, -(10**4000), 1e308, 5e-324, "", "x" * 10_000, "\ud800"]
    values += [[], {}, [[]], [{}], ["x", "x"], [1, 2, 3], {"3": 1, "5": 1, "2": 1}, nested(900)]
    header = json.loads(json.dumps(make().header()))
    tensors = dict(make().tensors)
    read = 0
    for place in paths_in(header):
        for value in values if place else ():
            changed = copy.deepcopy(header)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            path = tmp_path / "model"
            path.write_bytes(signed(changed, tensors))
            message = ""
            try:
                loaded = load_checkpoint(path).checkpoint
                assert Schema.from_dict(loaded.schema.to_dict()) == loaded.schema
                read += 1
            except CheckpointError as error:
                message = str(error)
            path.unlink()  # overwriting would be slower, because file systems flush replaced files
            assert len(message) < 1_000, (place, value)
    assert read > 0


@pytest.mark.parametrize("depth", [100, 900, *range(930, 1_010, 4), 100_000])
@pytest.mark.parametrize("brackets", ["[]", '{"":}'])
def test_no_depth_of_nesting_in_the_header_breaks_the_reader(path: Path, depth: int, brackets: str) -> None:
    bomb = brackets[:-1] * depth + "0" + brackets[-1] * depth
    text = '{"digest":"","format":"axon.checkpoint","format_version":1,"training":' + bomb + "}"
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(1, np.float32)}, metadata={METADATA_KEY: text}))
    assert refused(path)
    try:  # without verification, so reading may succeed
        assert read_header(path)["training"]
    except CheckpointError as error:
        assert "header" in error.reason  # noqa: PT017


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "01", "1.0", "9" * 5_000])
def test_numbers_that_are_not_canonical_are_refused(path: Path, number: str) -> None:
    text = '{"digest":"","format":"axon.checkpoint","format_version":1,"training":{"loss":' + number + "} }"
    path.write_bytes(safetensors.numpy.save({"w": np.zeros(1, np.float32)}, metadata={METADATA_KEY: text}))
    assert "header" in refused(path)


@pytest.mark.parametrize("version", [True, 0, -1, 1.0, "1", None, []])
def test_a_format_version_is_a_whole_number(path: Path, version: object) -> None:
    assert "format version" in refused(rewritten(path, {"format_version": version}))


@pytest.mark.parametrize(("dtype", "size"), [("BF16", 30), ("F16", 30), ("F8_E4M3", 60), ("I32", 15), ("BOOL", 60)])
def test_tensors_of_another_type_are_refused(path: Path, dtype: str, size: int) -> None:
    payload = path.read_bytes()
    (length,) = struct.unpack_from("<Q", payload)
    outer = json.loads(payload[8 : 8 + length])
    outer["layers.0.weight"] |= {"dtype": dtype, "shape": [size]}  # the same number of bytes as 5 x 3 float32
    raw = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + payload[8 + length :])
    assert refused(path)


def test_keys_that_are_numbers_come_back_as_text(tmp_path: Path) -> None:
    by_epoch = {epoch: 1 / epoch for epoch in range(1, 12)}  # 2 < 10 as numbers, but "10" < "2" as texts
    save_checkpoint(replace(make(), training=by_epoch), tmp_path / "model")
    assert load_checkpoint(tmp_path / "model").checkpoint.training == {str(key): loss for key, loss in by_epoch.items()}


def test_what_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.checkpoint._MAX_HEADER_BYTES", 1_000)
    with pytest.raises(CheckpointError, match="1,000 bytes"):
        save_checkpoint(make(), tmp_path / "model")
    with pytest.raises(CheckpointError, match="JSON"):
        save_checkpoint(replace(make(), training={"deep": nested(100_000)}), tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_only_half_leaves_the_old_file_and_nothing_else(path: Path) -> None:
    code = (
        "import resource, signal, sys; from pathlib import Path; from models.checkpoint import *\n"
        "from models.errors import CheckpointError\n"
        "path = Path(sys.argv[1]); checkpoint = load_checkpoint(path).checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))\n"
        "try: save_checkpoint(checkpoint, path)\n"
        "except CheckpointError as error: print(error)"
    )
    before = path.read_bytes()
    said = subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60, capture_output=True, text=True)
    assert said.stdout == f"{path}: cannot be written: File too large.\n"
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_in_the_place_of_the_file_stays(tmp_path: Path) -> None:
    place = tmp_path / "model"
    (place / "inner").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(make(), place)
    assert list(tmp_path.iterdir()) == [place]


def test_a_regression_that_no_class_target_fits_and_the_other_way_round() -> None:
    config = MLPConfig(layer_sizes=(3, 1), output="linear")
    tensors = {name: np.zeros(shape, np.float32) for name, shape in config.tensor_shapes().items()}
    with pytest.raises(ConfigError, match="2 classes"):
        Checkpoint(config=config, schema=SCHEMA, tensors=tensors)
    target = NumericTarget(name="y", mean=0.0, std=1.0, minimum=0.0, maximum=1.0)
    with pytest.raises(ConfigError, match="no classes"):
        replace(make(), schema=Schema(columns=SCHEMA.columns, target=target))
    with pytest.raises(ConfigError, match="2 features"):
        replace(make(), schema=Schema(columns=SCHEMA.columns[1:], target=SCHEMA.target))


def test_nothing_in_the_models_package_can_run_what_a_file_holds() -> None:
    forbidden = {"pickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "eval", "exec", "compile"}
    for source in Path(models.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            named: list[str | None] = []
            if isinstance(node, ast.Import):
                named = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                named = [node.module, *(alias.name for alias in node.names)]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                named = [node.func.id]
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "torch":
                assert node.attr not in ("load", "save"), source
            assert not forbidden & set(named), source


def test_no_depth_of_nesting_in_a_signed_header_breaks_the_reader(tmp_path: Path) -> None:
    header = json.loads(json.dumps(make().header()))
    refusals = 0
    for depth in range(900, 1_000):
        header["architecture"]["dropout"] = nested(depth)
        path = tmp_path / str(depth)
        try:
            path.write_bytes(signed(header, dict(make().tensors)))
        except RecursionError:
            break
        refusals += bool(refused(path))
    assert refusals > 0


def test_whoever_has_the_old_file_open_reads_it_to_its_end(path: Path) -> None:
    with path.open("rb", buffering=0) as reader:
        start = reader.read(100)
        save_checkpoint(replace(make(), data={"name": "another"}), path)
        whole = start + reader.read()
    assert whole != path.read_bytes()
    path.write_bytes(whole)
    assert load_checkpoint(path).checkpoint.data == make().data


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
            seen = set(path.parent.iterdir())
            while not set(path.parent.iterdir()) - seen:  # a new temporary file appears: the writer is writing
                assert writer.poll() is None
            writer.send_signal(signal.SIGKILL)
        assert path.read_bytes() == expected


def test_the_header_alone_needs_no_tensors(path: Path) -> None:
    payload = path.read_bytes()
    (length,) = struct.unpack_from("<Q", payload)
    path.write_bytes(payload[: 8 + length])
    assert read_header(path)["architecture"]["layer_sizes"] == [3, 5, 2]
    assert json.loads(payload[8 : 8 + length])["__metadata__"].keys() == {METADATA_KEY}
