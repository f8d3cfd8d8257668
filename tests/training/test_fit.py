"""From a table to a checkpoint: the published model predicts as the trained one, and knows only the training part."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.columns.encoding import RowEncoder
from models.errors import ConfigError, DataError, InvalidName, RowError
from models.network.mlp import MLP
from models.network.numpy_mlp import NumpyMLP
from models.store import Store
from training.config import TrainConfig
from training.data.preprocessing import encode, standardise
from training.data.split import PARTS
from training.data.training_table import ColumnChoices
from training.errors import TrainingError
from training.fit import fit
from training.fitted_model import FittedModel
from training.metrics import evaluate

QUICK = {"hidden_sizes": (8,), "epochs": 5}


def flowers(rows=90):
    """Makes numeric and categorical columns with gaps, and a target that depends on both."""
    rng = np.random.default_rng(0)
    length = rng.normal(5, 1, rows).round(2)
    colour = rng.choice(["red", "white", "blue"], rows).astype(object)
    frame = pd.DataFrame(
        {
            "length": length,
            "colour": colour,
            "wild": rng.random(rows) < 0.5,
            "petals": rng.integers(3, 9, rows),
            "species": np.where(length + (colour == "red") > 5.3, "setosa", "virginica"),
        }
    )
    frame.loc[::9, "length"] = np.nan
    frame.loc[::10, "colour"] = None
    return frame


def all_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def served(model, rows):
    """Returns the answers of the service: (rows, outputs)."""
    checkpoint = model.checkpoint
    return checkpoint.inference_network().forward(RowEncoder(checkpoint.schema).encode_matrix(rows))


def test_csv_parquet_arrow_and_a_frame_give_the_same_model(tmp_path):
    frame = flowers()
    frame.to_csv(tmp_path / "flowers.csv", index=False)
    frame.to_parquet(tmp_path / "flowers.parquet")
    sources = [tmp_path / "flowers.csv", str(tmp_path / "flowers.parquet"), frame, pa.Table.from_pandas(frame)]
    models = [fit(source, target="species", name="flowers", **QUICK) for source in sources]
    for number, model in enumerate(models):
        model.publish(tmp_path / str(number))
    files = {path.read_bytes() for path in tmp_path.glob("*/flowers/1/model.safetensors")}
    assert len(files) == 1


def test_gaps_and_categories_survive_the_store(tmp_path):
    model = fit(flowers(), target="species", name="flowers", hidden_sizes=(16,), epochs=40, learning_rate=0.02)
    published = model.publish(tmp_path)
    checkpoint = Store(tmp_path).load(str(published)).checkpoint
    assert [(column.name, column.kind, column.missing) for column in checkpoint.schema.columns] == [
        ("length", "numeric", "indicator"),
        ("colour", "categorical", "ignore"),
        ("wild", "categorical", "refuse"),
        ("petals", "numeric", "refuse"),
    ]
    assert checkpoint.schema.columns[2].categories == ("false", "true")
    rows = [[None, "red", True, 4], {"length": 9.5, "colour": None, "wild": False, "petals": 4}]
    assert len(model.predict(rows)) == 2
    assert model.predict([[9.5, "red", True, 4], [1.0, "blue", True, 4]]) == ["setosa", "virginica"]
    assert len(model.predict([[5.0, "green", True, 4]])) == 1


def test_unknown_categories_are_refused_on_request():
    choices = ColumnChoices(unknown="refuse")
    model = fit(flowers(), target="species", choices=choices, **QUICK)
    with pytest.raises(RowError, match="row 0, column 'colour'"):
        model.predict([[5.0, "green", True, 4]])


def test_statistics_are_those_of_the_training_part():
    frame = flowers()
    model = fit(frame, target="species", **QUICK)
    train = frame.iloc[model.split.train]
    length, colour, _, petals = model.checkpoint.schema.columns
    assert length.mean == pytest.approx(train["length"].mean())
    assert length.std == pytest.approx(train["length"].std(ddof=0))
    assert petals.mean == pytest.approx(train["petals"].mean())
    assert colour.categories == tuple(sorted(train["colour"].dropna().unique()))
    assert length.mean != pytest.approx(frame["length"].mean(), rel=1e-6)


@pytest.mark.parametrize(
    ("engine", "source", "settings"),
    [
        ("torch", "iris", {"normalization": "batch", "dropout": 0.1, "epochs": 10}),
        ("torch", "diabetes", {"normalization": "layer", "epochs": 10}),
        ("numpy", "iris", {"epochs": 10}),
        ("numpy", "diabetes", {"epochs": 10}),
        ("perceptron", "breast_cancer", {}),
    ],
)
def test_what_is_served_is_what_was_trained(tmp_path, engine, source, settings):
    model = fit(source, engine=engine, **settings)
    loaded = Store(tmp_path).load(str(model.publish(tmp_path))).checkpoint
    config, schema = loaded.config, loaded.schema
    rows = [model.table.example(row) for row in model.split.test]
    x = standardise(schema, encode(schema, model.table, model.split.test))
    if engine == "numpy":
        expected = NumpyMLP.from_tensors(config, loaded.tensors).predict_probabilities(x)
    else:
        torch = pytest.importorskip("torch")
        with torch.no_grad():
            module = MLP.from_tensors(config, loaded.tensors).eval()
            expected = module.predict_probabilities(torch.from_numpy(x)).numpy()
    if config.output == "linear":
        expected = expected * schema.target.std + schema.target.mean
    np.testing.assert_allclose(served(model, rows), expected, rtol=2e-4, atol=2e-5)
    assert loaded.training["engine"] == engine
    assert model.metrics["test"] == evaluate(config.output, served(model, rows), model.table.target[model.split.test])


def test_the_best_epoch_is_the_published_one():
    model = fit("diabetes", epochs=60, learning_rate=0.05, patience=None)
    losses = model.trained.history["validation_loss"]
    assert model.trained.best_epoch == int(np.argmin(losses)) + 1 < 60
    target = model.checkpoint.schema.target
    assert model.metrics["validation"]["rmse"] == pytest.approx(target.std * min(losses) ** 0.5, rel=1e-4)
    assert model.checkpoint.training["best_epoch"] == model.trained.best_epoch


def test_the_checkpoint_tells_how_and_on_what_it_was_trained():
    frame = flowers()
    model = fit(frame, target="species", name="flowers", seed=3, **QUICK)
    training, data = model.checkpoint.training, model.checkpoint.data
    assert training["seed"] == 3
    assert training["batch_size"] == 62 == data["split"]["train"]
    assert {"engine", "optimizer", "learning_rate", "weight_decay", "clip_norm", "epochs_run", "stopped"} <= set(
        training
    )
    assert data["rows"] == 90
    assert data["columns"] == 4
    assert sum(data["split"].values()) == 90
    assert data["fingerprint"] == model.table.fingerprint()
    assert {part: model.metrics[part]["rows"] for part in PARTS} == data["split"]
    json.dumps(model.checkpoint.header(), allow_nan=False)


def test_its_settings_train_the_same_model_again():
    model = fit(flowers(), target="species", epochs=4)
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    settings = {name: value for name, value in model.checkpoint.training.items() if name in names}
    again = fit(flowers(), target="species", **settings)
    for name, tensor in model.checkpoint.tensors.items():
        np.testing.assert_array_equal(again.checkpoint.tensors[name], tensor)


def test_a_truth_table_is_used_whole_and_says_so():
    model = fit("and", epochs=2)
    assert model.checkpoint.data["whole_table"] is True
    assert model.checkpoint.data["split"] == {"train": 4, "validation": 4, "test": 4}
    assert any("same 4 rows" in note for note in model.notes)
    assert fit(flowers(), target="species", **QUICK).checkpoint.data["whole_table"] is False


def test_categories_outside_the_training_part_are_told():
    frame = flowers()
    split = fit(frame, target="species", **QUICK).split
    frame.loc[split.test[0], "colour"] = "mauve"
    frame.loc[split.validation[0], "colour"] = "teal"
    model = fit(frame, target="species", **QUICK)
    assert any("'colour' has 2 categories outside the training part" in note for note in model.notes)


def test_a_perceptron_that_fails_says_so_and_can_be_published(tmp_path):
    model = fit("xor", engine="perceptron")
    assert "cannot converge" in model.notes[0]
    assert model.checkpoint.training["verdict"] == model.notes[0]
    assert model.checkpoint.training["history"]["mistakes"]
    assert str(model.publish(tmp_path)) == "xor@1"
    assert "log_loss" not in model.metrics["test"]


def test_fit_reads_one_file_and_writes_none(tmp_path, monkeypatch):
    flowers().to_csv(tmp_path / "flowers.csv", index=False)
    monkeypatch.chdir(tmp_path)
    model = fit("flowers.csv", target="species", **QUICK)
    assert [path.name for path in all_files(tmp_path)] == ["flowers.csv"]
    assert model.name == "flowers"


def test_stopping_on_request_keeps_the_best_so_far():
    epochs = []
    model = fit("iris", epochs=500, on_epoch=epochs.append, should_stop=lambda: len(epochs) == 2)
    assert isinstance(model, FittedModel)
    assert model.trained.epochs_run == 2
    assert any("Stopped on request after epoch 2" in note for note in model.notes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"source": "iriss"}, DataError, "neither a file"),
        ({"source": "table.xlsx"}, DataError, "there is no file table.xlsx"),
        ({"source": 42}, DataError, "'int' is not a table"),
        ({"source": "nowhere.csv", "target": "y"}, DataError, "there is no file nowhere.csv"),
        ({"source": "nowhere.parquet", "target": "y"}, DataError, "there is no file nowhere.parquet"),
        ({"source": "iris", "name": "../iris"}, InvalidName, "is not a model name"),
        ({"source": "iris", "epoch": 3}, ConfigError, "unknown setting 'epoch'"),
        ({"source": "iris", "device": "abacus"}, ConfigError, "no device 'abacus'"),
        ({"source": "iris", "engine": "perceptron"}, ConfigError, "target 'species' has 3"),
        ({"source": "diabetes", "engine": "perceptron"}, ConfigError, "'progression' is numbers"),
        ({"source": "iris", "task": "ranking"}, DataError, "task must be"),
        ({"source": "diabetes", "engine": "numpy", "learning_rate": 1e10}, TrainingError, "smaller learning rate"),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_sentence(arguments, error, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as refused:
        fit(**arguments)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_without_a_target_lists_the_columns(tmp_path):
    flowers().to_csv(tmp_path / "f.csv", index=False)
    with pytest.raises(DataError, match=r"which column of f\.csv is to be predicted\? .*'length', 'colour'"):
        fit(tmp_path / "f.csv")


def test_an_unknown_type_and_a_damaged_parquet_are_refused(tmp_path):
    for name, message in (("table.xlsx", "is an Excel workbook, which is not read"), ("table.md", "of a type that is")):
        (tmp_path / name).write_bytes(b"PK")
        with pytest.raises(DataError, match=message):
            fit(tmp_path / name, target="y")
    flowers().to_parquet(tmp_path / "whole.parquet")
    content = (tmp_path / "whole.parquet").read_bytes()
    for damaged in (b"", b"garbage", content[:-20], content[:100] + content[200:]):
        (tmp_path / "damaged.parquet").write_bytes(damaged)
        with pytest.raises(DataError, match=r"damaged\.parquet"):
            fit(tmp_path / "damaged.parquet", target="species")


def test_versions_count_up_and_nothing_is_left_beside_them(tmp_path):
    model = fit(flowers(), target="species", name="flowers", **QUICK)
    assert [str(model.publish(tmp_path)) for _ in range(2)] == ["flowers@1", "flowers@2"]
    assert str(model.publish(Store(tmp_path), "roses")) == "roses@1"
    shutil.rmtree(tmp_path / "roses")
    assert [path.name for path in all_files(tmp_path)] == [".lock", "model.safetensors", "model.safetensors"]
