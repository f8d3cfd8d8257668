"""A libFuzzer target: any checkpoint file is either read or refused with a CheckpointError.

Half of the inputs are used as the file itself. Randomly damaged bytes hardly ever pass the digest, so the other inputs
are read as a series of changes to a valid checkpoint, which is then written with a correct digest.

    python tests/fuzz/fuzz_checkpoint.py FOLDER -max_total_time=60
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

import atheris
import numpy as np
import safetensors.numpy

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["models"]):
    from models import checkpoint as target
    from models.checkpoint import METADATA_KEY, Checkpoint, save_checkpoint
    from models.columns.schema import CategoricalColumn, ClassTarget, NumericColumn, NumericTarget, Schema
    from models.errors import CheckpointError, ConfigError
    from models.network.config import MLPConfig

NUMBERS = (-1, 0, 1, 2, 3, 2**31, 2**63, 10**400, -0.0, 0.5, 1e-320, 1.7e308, float("nan"), float("inf"))
TEXTS = ("", "x", "age", "numeric", "class", "batch", "relu", "softmax", "linear", "refuse", "\ud800", "\0", "é" * 300)
VALUES = (None, True, False, *NUMBERS, *TEXTS, [], {}, [[]], [1], ["a", "a"], {"kind": "numeric"}, [2, 8, 2])
MAX_REFUSAL = 1_000  # characters, for any content of the file
DTYPES = ("<f4", "<f8", "<f2", "<i8", "|u1", "|b1")


def sound_checkpoints() -> list[Checkpoint]:
    """Returns checkpoints with every kind of column, target and normalisation."""
    age = NumericColumn(name="age", mean=40, std=12, minimum=1, maximum=90, missing="mean")
    city = CategoricalColumn(name="city", categories=("Rome", "Oslo"), unknown="ignore")
    buys = ClassTarget(name="buys", labels=("no", "yes"))
    price = NumericTarget(name="price", mean=250, std=90, minimum=50, maximum=900)
    checkpoints = []
    for aim, output, sizes, normalization in (
        (buys, "softmax", (3, 4, 2), "batch"),
        (price, "linear", (3, 4, 1), "layer"),
        (buys, "step", (3, 1), "none"),
    ):
        config = MLPConfig.from_dict(
            {"layer_sizes": list(sizes), "output": output, "normalization": normalization, "dropout": 0.1}
        )
        rng = np.random.default_rng(0)
        shapes = config.tensor_shapes()
        tensors = {name: rng.uniform(0.5, 1, shape).astype(np.float32) for name, shape in shapes.items()}
        checkpoints.append(
            Checkpoint(
                config=config,
                schema=Schema(columns=(age, city), target=aim),
                tensors=tensors,
                training={"engine": "torch", "seed": 1},
                metrics={"test": {"accuracy": 0.9}},
                data={"name": "x", "examples": [{"age": 1, "city": "Rome"}]},
            )
        )
    return checkpoints


def change(document: Any, given: atheris.FuzzedDataProvider) -> Any:
    """Returns the document with one part replaced, removed, renamed or duplicated."""
    if not isinstance(document, dict | list) or not document or given.ConsumeIntInRange(0, 3) == 0:
        return given.PickValueInList(list(VALUES))
    if isinstance(document, list):
        at = given.ConsumeIntInRange(0, len(document) - 1)
        match given.ConsumeIntInRange(0, 3):
            case 0:
                return document[:at] + document[at + 1 :]
            case 1:
                return document[:at] + document[at:] * given.ConsumeIntInRange(2, 50)
            case _:
                return [*document[:at], change(document[at], given), *document[at + 1 :]]
    key = given.PickValueInList(sorted(document))
    match given.ConsumeIntInRange(0, 3):
        case 0:
            return {name: value for name, value in document.items() if name != key}
        case 1:
            return document | {given.PickValueInList([*TEXTS, *document]): document[key]}
        case _:
            return document | {key: change(document[key], given)}


def rebuilt(checkpoint: Checkpoint, given: atheris.FuzzedDataProvider) -> bytes:
    """Returns the file of a changed checkpoint, with the digest of the new content."""
    header, tensors = checkpoint.header(), dict(checkpoint.tensors)
    for _ in range(given.ConsumeIntInRange(0, 4)):
        header = change(header, given)
        if not isinstance(header, dict):
            header = {"format": header}
    for _ in range(given.ConsumeIntInRange(0, 2)):
        name = given.PickValueInList(sorted(tensors) or [""])
        tensor = tensors.pop(name, np.zeros(1, np.float32))
        match given.ConsumeIntInRange(0, 3):
            case 0:
                continue
            case 1:
                tensors[given.PickValueInList([*TEXTS[:4], "layers.9.weight"])] = tensor
            case 2:
                tensors[name] = tensor.astype(given.PickValueInList(list(DTYPES)))
            case _:
                shape = tuple(given.ConsumeIntInRange(0, 4) for _ in range(given.ConsumeIntInRange(0, 3)))
                tensors[name] = np.full(shape, given.PickValueInList([0.0, 1e30, np.nan, np.inf]), np.float32)
    try:
        header["digest"] = target._digest(header, tensors)
        text = target._canonical(header)
    except (ValueError, TypeError, RecursionError):  # JSON has no NaN, so this cannot be written
        text = json.dumps(header)
    return safetensors.numpy.save(tensors, metadata={METADATA_KEY: text})


CHECKPOINTS = sound_checkpoints()
FILE = Path(sys.argv[1]).with_suffix(".read")  # beside the folder of the corpus


def read(data: bytes) -> None:
    """Reads one input of the fuzzer."""
    given = atheris.FuzzedDataProvider(data[1:])
    FILE.write_bytes(data if data[:1] < b"\x80" else rebuilt(given.PickValueInList(CHECKPOINTS), given))
    with contextlib.suppress(CheckpointError):
        target.read_header(FILE)
    try:
        checkpoint = target.load_checkpoint(FILE).checkpoint
    except CheckpointError as error:
        said = str(error)
        if len(said) > MAX_REFUSAL:
            raise ValueError(f"a refusal of {len(said):,} characters") from error
        return
    # An accepted checkpoint can be served or is refused by name, and can be written again unchanged.
    with contextlib.suppress(ConfigError):
        checkpoint.inference_network()
    digest = save_checkpoint(checkpoint, FILE)
    again = target.load_checkpoint(FILE)
    assert again.digest == digest
    assert again.checkpoint.header() == checkpoint.header()


def write_seeds(folder: Path) -> None:
    """Writes valid files, and series of changes."""
    for number, checkpoint in enumerate(CHECKPOINTS):
        save_checkpoint(checkpoint, folder / f"sound-{number}")
    for number in range(32):
        (folder / f"changes-{number}").write_bytes(b"\xff" + np.random.default_rng(number).bytes(64))


if __name__ == "__main__":
    write_seeds(Path(sys.argv[1]))
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
