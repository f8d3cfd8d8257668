"""The command line: real processes for the main paths, calls of `main` for the rest."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.store import Store
from training.cli import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run(*arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    """Runs a command in this process on a store of its own; returns (exit code, stdout, stderr)."""
    monkeypatch.setenv("AXON_STORE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def run_here(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_here


FLOWERS = "length,colour,species\n" + "".join(
    f"{i / 10},{('red', 'blue', 'white')[i % 3]},{'setosa' if i < 30 else 'virginica'}\n" for i in range(60)
)


@pytest.mark.slow
def test_a_csv_file_becomes_a_served_model_and_the_same_bytes_twice(tmp_path):
    (tmp_path / "data.csv").write_text(FLOWERS)
    arguments = ("fit", "data.csv", "--target", "species", "--name", "flowers", "--epochs", 10, "--threads", 1)
    first, second = (run(*arguments, "--store", store, cwd=tmp_path) for store in ("a", "b"))
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout.splitlines()[-1] == "published flowers@1"
    assert "validation" in first.stdout
    assert "accuracy" in first.stdout
    assert "epoch 10 of 10" in first.stderr
    files = [tmp_path / store / "flowers/1/model.safetensors" for store in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    assert Store(tmp_path / "a").load("flowers").checkpoint.schema.target.name == "species"


@pytest.mark.slow
def test_a_refusal_is_one_sentence_and_exit_code_2(tmp_path):
    (tmp_path / "data.csv").write_text(FLOWERS + "n/a?,red,setosa\n")
    refused = run("fit", "data.csv", "--target", "species", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert refused.stderr == (
        "error: column 'length' of data.csv: 'n/a?' at line 62 is not a number, while 60 of 61 cells are; "
        "correct it, read it as missing (--missing-values 'length=n/a?'), or read the column as names "
        "(--categorical length).\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["data.csv"]


def test_json_is_all_there_is_on_standard_output(command):
    code, out, err = command("fit", "iris", "--epochs", 2, "--json", "--quiet")
    result = json.loads(out)
    assert code == 0
    assert err == ""
    assert result["model"] == "iris@1"
    assert set(result["metrics"]) == {"train", "validation", "test"}
    assert result["metrics"]["test"]["rows"] == 23


def test_quiet_leaves_the_last_line(command):
    assert command("fit", "and", "--epochs", 2, "--quiet") == (0, "published and@1\n", "")


GERMAN = "menge;satz;umsatz\n" + "".join(
    f"{'?' if i % 9 == 0 else i};{i % 7},{i % 10};{1 + i % 9}.{i:03d}\n" for i in range(100, 160)
)


@pytest.mark.parametrize(("options", "least"), [((), 1_100), (("--decimal", "."), 1.1), (("--thousands", "."), 1_100)])
@pytest.mark.slow
def test_marks_and_gaps_are_read_alike_by_inspect_fit_and_search(command, tmp_path, options, least):
    (tmp_path / "data.csv").write_text(GERMAN)
    arguments = ("data.csv", "--target", "umsatz", "--task", "regression", "--missing-values", "menge=101", *options)
    code, out, _ = command("inspect", *arguments, "--json")
    facts = {column["name"]: column for column in json.loads(out)["columns"]}
    assert code == 0
    assert (facts["menge"]["kind"], facts["menge"]["missing"]) == ("numeric", 6 + 1)
    assert facts["umsatz"]["minimum"] == pytest.approx(least, rel=0.1)
    small = ("--epochs", "2", "--hidden", "4", "--device", "cpu", "--quiet", "--threads", "1")
    assert command("fit", *arguments, *small, "--no-report")[0] == 0
    fitted = Store(tmp_path / "store").load("data").checkpoint.schema
    assert fitted.target.minimum >= facts["umsatz"]["minimum"]
    assert fitted.columns[0].missing == "indicator"
    if not options:
        assert command("search", *arguments, *small, "--trials", "1", "--vary", "dropout=0..0.1")[0] == 0
        assert Store(tmp_path / "store").load("data").checkpoint.schema == fitted


def test_options_reach_the_checkpoint(command, tmp_path):
    (tmp_path / "data.csv").write_text(FLOWERS.replace(",", ";"))
    code, out, _ = command(
        *("fit", "data.csv", "--target", "species", "--drop", "colour", "--delimiter", ";", "--hidden", "5,4"),
        *("--no-learned-activation", "--no-scale-inputs", "--frequencies", "4", "--clip-inputs", "2", "--members", "2"),
        *("--embedding-size", "3", "--scaling", "standard", "--no-calibrate"),
        *("--activation", "tanh", "--dropout", "0.1", "--normalization", "layer", "--initialization", "xavier"),
        *("--no-bias", "--optimizer", "adam", "--learning-rate", "0.01", "--weight-decay", "0.001", "--seed", "7"),
        *("--batch-size", "8", "--epochs", "3", "--patience", "none", "--split", "60/20/20", "--device", "cpu"),
    )
    assert (code, out.splitlines()[-1]) == (0, "published data@1")
    checkpoint = Store(tmp_path / "store").load("data").checkpoint
    assert checkpoint.schema.names == ("length",)
    config = checkpoint.config.to_dict()
    inputs = config.pop("inputs")
    assert config == {
        "layer_sizes": [1, 5, 4, 2],
        "activation": "tanh",
        "output": "softmax",
        "dropout": 0.1,
        "normalization": "layer",
        "initialization": "xavier",
        "bias": False,
        "learned_activation": False,
        "clamp": False,
        "temperature": 1.0,
        "members": 2,
    }
    told = {name: inputs[name] for name in ("numbers", "clip", "frequencies", "embedding_size", "scale")}
    assert told == {"numbers": [0], "clip": 2.0, "frequencies": 4, "embedding_size": 3, "scale": False}
    for name, value in {
        "optimizer": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.001,
        "seed": 7,
        "batch_size": 8,
        "epochs": 3,
        "patience": None,
        "split": [0.6, 0.2, 0.2],
    }.items():
        assert checkpoint.training[name] == value
    assert checkpoint.data["split"] == {"train": 36, "validation": 12, "test": 12}


def test_column_options_add_up(command, tmp_path):
    lines = ["a,b,c,d,y"] + [f"{i},{i % 3},{i % 4},{i * i},{i % 2}" for i in range(40)]
    (tmp_path / "data.csv").write_text("\n".join(lines))
    options = ("--drop", "a", "--drop", "d", "--categorical", "b", "c", "--unknown", "ignore", "--epochs", "1")
    assert command("fit", "data.csv", "--target", "y", *options)[0] == 0
    columns = Store(tmp_path / "store").load("data").checkpoint.schema.columns
    assert [(column.name, column.kind, column.unknown) for column in columns] == [
        ("b", "categorical", "ignore"),
        ("c", "categorical", "ignore"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        ("--hidden", "4,x"),
        ("--split", "1/2"),
        ("--split", "a/b/c"),
        ("--patience", "some"),
        ("--threads", "0"),
        ("--engine", "jax"),
        ("--epochs", "many"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused(command, capsys, wrong):
    with pytest.raises(SystemExit) as exit_:
        command("fit", "xor", *wrong)
    assert exit_.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "xor", "--epochs", "0"), "epochs must be a whole number of at least 1"),
        (("fit", "xor", "--engine", "numpy", "--optimizer", "adam"), "the numpy engine's optimizer is sgd"),
        (("fit", "xor", "--engine", "numpy", "--activation", "gelu"), "'gelu'"),
        (("fit", "xor", "--delimiter", "ab"), "the delimiter must be one character"),
        (("summary", "nothing"), "there is no model 'nothing'"),
        (("summary", "no/thing"), "is not a model name"),
        (("summary",), "give a MODEL of the store, or --layers"),
        (("summary", "xor", "--layers", "3,2"), "and not both"),
        (("summary", "--layers", "3"), "needs 2 to 1000 widths"),
        (("summary", "--layers", "none"), "needs 2 to 1000 widths"),
        (("summary", "--layers", "3,0,2"), "got 0"),
        (("summary", "--layers", "784,512,256,10", "--format", "neurons"), "535,818 parameters, and Mermaid draws at"),
        (("delete", "xor"), "names no version"),
        (("alias", "xor", "production"), "--remove"),
        (("alias", "xor", "production", "1"), "there is no model 'xor'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(command, arguments, message):
    code, _, err = command(*arguments)
    assert code == 2
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_failed_run_publishes_nothing(command, tmp_path):
    code, _, err = command("fit", "diabetes", "--engine", "numpy", "--learning-rate", "1e10")
    assert code == 2
    assert "smaller learning rate" in err
    assert not (tmp_path / "store").exists()


def test_the_store_is_looked_after(command):
    command("fit", "and", "--epochs", 1)
    command("fit", "and", "--epochs", 1)
    assert command("alias", "and", "production", 1) == (0, "and@production is and@1\n", "")
    code, out, _ = command("list")
    assert code == 0
    assert "and" in out
    assert "1, 2" in out
    assert "production → 1" in out
    assert "accuracy" in out
    (record,) = json.loads(command("list", "--json")[1])
    assert (record["name"], record["versions"], record["aliases"]) == ("and", [1, 2], {"production": 1})
    assert record["parameters"] == 2 * 16 + 16 + 16 * 2 + 2
    code, _, err = command("delete", "and@1")
    assert code == 2
    assert "alias" in err
    assert command("alias", "and", "production", "--remove")[1] == "removed and@production\n"
    assert command("delete", "and@1")[1] == "deleted and@1\n"
    assert json.loads(command("list", "--json")[1])[0]["versions"] == [2]


def test_an_empty_store_is_said_to_be(command):
    assert "holds no model" in command("list")[1]
    assert json.loads(command("list", "--json")[1]) == []


def test_a_damaged_model_does_not_hide_the_others(command, tmp_path):
    command("fit", "and", "--epochs", 1)
    command("fit", "or", "--epochs", 1)
    (tmp_path / "store/and/1/model.safetensors").write_bytes(b"damaged")
    code, out, _ = command("list", "--json")
    broken, sound = json.loads(out)
    assert code == 0
    assert "model.safetensors" in broken["problem"]
    assert sound["task"] == "classification"
    assert command("list")[0] == 0


def test_a_summary_in_each_form(command):
    command("fit", "and", "--epochs", 1)
    text = command("summary", "and")[1]
    assert text.startswith("and@1\n")
    assert "layers.0" in text
    assert json.loads(command("summary", "and@1", "--format", "json")[1])["total_params"] == 82
    assert "flowchart" in command("summary", "and@latest", "--format", "mermaid")[1]


@pytest.mark.parametrize(("layers", "total"), [("784,512,256,10", 535_818), ("3,4,2", 26), ("3,4,4,2", 46), ("5,1", 6)])
def test_a_network_is_counted_without_training(command, tmp_path, layers, total):
    code, out, _ = command("summary", "--layers", layers, "--format", "json")
    assert (code, json.loads(out)["total_params"]) == (0, total)
    assert f"Total params {total:,}" in " ".join(command("summary", "--layers", layers)[1].split())
    assert not (tmp_path / "store").exists()


def test_a_stored_network_is_drawn_with_its_weights_and_one_with_more_than_weights_is_refused(command, tmp_path):
    plain = ("--recipe", "classic", "--hidden", "3", "--normalization", "none", "--epochs", 1)
    command("fit", "and", "--name", "plain", *plain)
    out = command("summary", "plain", "--format", "neurons")[1]
    tensors = Store(tmp_path / "store").load("plain").checkpoint.tensors
    assert f"n0_2 -->|{tensors['layers.0.weight'][2, 1]:.3g}| n1_3" in out
    assert f"one2 -.->|{tensors['layers.1.bias'][0]:.3g}| n2_1" in out
    command("fit", "and", "--name", "normalised", *plain, "--normalization", "batch")
    code, _, err = command("summary", "normalised", "--format", "neurons")
    assert code == 2
    assert "this network has batch normalization" in err
    assert "--format mermaid draws it layer by layer" in err


@pytest.mark.slow
def test_the_demo_fills_an_empty_store_only(tmp_path):
    first = run("demo", "--if-empty", cwd=tmp_path, AXON_STORE="store", AXON_DEVICE="cpu")
    assert first.returncode == 0, first.stderr
    assert [line.split()[1] for line in first.stdout.splitlines()] == [
        "iris@1",
        "digits@1",
        "diabetes@1",
        "xor@1",
        "clusters@1",
        "xor-perceptron@1",
        "clusters-linear@1",
    ]
    again = run("demo", "--if-empty", cwd=tmp_path, AXON_STORE="store")
    assert (again.returncode, again.stdout) == (0, "store holds models already: nothing to do\n")
    assert all(entry.versions == (1,) for entry in Store(tmp_path / "store").entries())


def test_the_device_comes_from_the_environment(command, monkeypatch):
    monkeypatch.setenv("AXON_DEVICE", "abacus")
    code, _, err = command("fit", "xor")
    assert code == 2
    assert "abacus" in err


@pytest.mark.parametrize(
    "name", ["fit", "demo", "list", "summary", "alias", "delete", "publish", "promote", "rollback"]
)
def test_every_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([name, "--help"])
    assert exit_.value.code == 0
    assert "--store" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "meant"), [("--epoch", "--epochs"), ("--targt=y", "--target"), ("--wholly-other", None)]
)
def test_a_mistyped_option_is_told_by_its_command(option, meant, capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "iris", option])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "fit: error: unrecognized arguments: " in error
    assert ("did you mean" in error) == (meant is not None)
    if meant is not None:
        assert error.endswith(f"did you mean {meant}?\n")
