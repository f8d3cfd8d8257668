"""The default recipe's step rate, Axon's and pytabkit's, at the same settings, in steps per CPU second.

Run as a module in pytabkit's environment, this file prints pytabkit's: `python -m benchmarks.training.recipe`.
"""

from __future__ import annotations

import os
import subprocess
import time

import numpy as np
import pandas as pd

from benchmarks.training.networks import RECIPE_BATCH, RECIPE_FEATURES, RECIPE_HIDDEN, RECIPE_ROWS, RECIPE_STEPS

_EPOCHS = 6


def frame() -> pd.DataFrame:
    """Makes `RECIPE_ROWS` rows of five numbers and a class that depends on the numbers, with noise."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((RECIPE_ROWS, RECIPE_FEATURES))
    y = np.where(x[:, 0] * x[:, 1] + 0.5 * rng.standard_normal(RECIPE_ROWS) > 0, "yes", "no")
    return pd.DataFrame({**{f"x{i}": x[:, i] for i in range(RECIPE_FEATURES)}, "y": y})


def axon() -> float | None:
    """Returns the rate of Axon's default recipe; None if this Axon has no recipes yet."""
    from training.config import TrainConfig
    from training.fit import fit

    if "recipe" not in TrainConfig.setting_names():
        return None
    stamps: list[float] = []
    fitted = fit(
        frame(),
        target="y",
        name="recipe",
        device="cpu",
        on_epoch=lambda epoch: stamps.append(time.process_time()),
        recipe="default",
        hidden_sizes=RECIPE_HIDDEN,
        batch_size=RECIPE_BATCH,
        epochs=_EPOCHS + 1,
        split=(0.8, 0.1, 0.1),
    )
    assert len(fitted.split.train) == RECIPE_BATCH * RECIPE_STEPS, "full batches only, so that steps are comparable"
    return (len(stamps) - 1) * RECIPE_STEPS / (stamps[-1] - stamps[0])


def pytabkit() -> float | None:
    """Returns the rate of pytabkit's RealMLP-TD, measured in its environment; None if that is not set up."""
    from benchmarks.accuracy.environments import PYTABKIT, is_set_up, python_of
    from benchmarks.peer import ROOT

    if not is_set_up(PYTABKIT):
        return None
    done = subprocess.run(
        [str(python_of(PYTABKIT)), "-m", "benchmarks.training.recipe"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pytabkit failed:\n{done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def _pytabkit_here() -> float:
    """Returns pytabkit's rate from two fits with different numbers of epochs, so that their common costs cancel."""
    from pytabkit import RealMLP_TD_Classifier

    data = frame().sample(frac=1, random_state=0, ignore_index=True)
    trained, validation = int(0.8 * RECIPE_ROWS), int(0.9 * RECIPE_ROWS)
    features, y = data.drop(columns="y"), data["y"].to_numpy()

    def seconds(epochs: int) -> float:
        model = RealMLP_TD_Classifier(
            device="cpu",
            n_threads=1,
            random_state=0,
            n_epochs=epochs,
            batch_size=RECIPE_BATCH,
            hidden_sizes=list(RECIPE_HIDDEN),
        )
        begun = time.process_time()
        model.fit(features[:trained], y[:trained], features[trained:validation], y[trained:validation])
        return time.process_time() - begun

    seconds(1)  # the first fit of a process also imports and sets up
    return _EPOCHS * RECIPE_STEPS / (seconds(_EPOCHS + 1) - seconds(1))


if __name__ == "__main__":
    print(_pytabkit_here())
