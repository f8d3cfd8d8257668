"""`data` writes built-in datasets as CSV, equal to scikit-learn's own, and ends well if the reader stops reading."""

import subprocess
import sys
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from training.cli import main

ROOT = Path(__file__).parents[2]


def test_a_dataset_as_csv_is_the_dataset(capsys):
    assert main(["data", "iris"]) == 0
    frame = pd.read_csv(StringIO(capsys.readouterr().out))
    bunch = load_iris()
    assert list(frame.columns) == ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]
    assert np.array_equal(frame.iloc[:, :4].to_numpy(), bunch.data)
    assert list(frame["species"]) == [bunch.target_names[i] for i in bunch.target]


def test_an_unknown_dataset_is_refused_by_name(capsys):
    assert main(["data", "tulips"]) == 2
    assert capsys.readouterr().err.startswith("error: 'tulips' is not a built-in dataset; there are xor, ")


@pytest.mark.slow
def test_a_reader_that_has_had_enough_is_no_fault():
    # digits is larger than a pipe's buffer: the rest cannot be written.
    command = [sys.executable, "-m", "training", "data", "digits"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stdout.readline().startswith(b"pixel_0_0,")
        run.stdout.close()
        assert run.stderr.read() == b""
    assert run.returncode == 141
