"""Trains a network with the engine that the configuration names."""

from __future__ import annotations

from models.errors import ConfigError
from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines import linear_engine, numpy_engine, perceptron_engine
from training.engines.engine import Matrices, OnEpoch, OnState, Pacing, ShouldStop, State, Trained


def train(
    config: TrainConfig,
    architecture: MLPConfig,
    data: Matrices,
    *,
    device: str = "auto",
    on_epoch: OnEpoch = lambda epoch: None,
    should_stop: ShouldStop = lambda: False,
    on_state: OnState = lambda state: None,
    resume: State | None = None,
    pacing: Pacing | None = None,
) -> Trained:
    """Trains with the engine of the config; the `train` function of that engine has the details.

    Args:
        config: settings of the run.
        architecture: architecture of the network.
        data: rows and targets.
        device: device of the torch engine: `auto`, `cpu`, `cuda`, ….
        on_epoch: callback for each epoch.
        should_stop: callback after each epoch; True ends the run.
        on_state: callback after each epoch with a function that makes a state to resume from; torch engine only.
        resume: state of an earlier run; None for a new run.
        pacing: rule that may change the number of epochs during the run, of the torch engine; None for no rule.

    Raises:
        ConfigError: the device does not exist, or the engine cannot resume or cannot weight rows.
        TrainingError: the loss is no longer finite.
    """
    if config.engine != "torch":
        if resume is not None:
            raise ConfigError(f"a run of the {config.engine} engine cannot be resumed: use --engine torch.")
        if data.weight is not None and config.engine != "linear":
            raise ConfigError(f"the {config.engine} engine knows no weights of rows: use --engine torch.")
    match config.engine:
        case "numpy":
            return numpy_engine.train(config, architecture, data, on_epoch=on_epoch, should_stop=should_stop)
        case "linear":
            return linear_engine.train(config, architecture, data, on_epoch=on_epoch)
        case "perceptron":
            return perceptron_engine.train(config, architecture, data, on_epoch=on_epoch, should_stop=should_stop)
        case _:
            # Imported here: torch takes longer to import than the other engines take to train.
            from training.engines import torch_engine
            from training.engines.device import choose_device

            return torch_engine.train(
                config,
                architecture,
                data,
                device=choose_device(device),
                on_epoch=on_epoch,
                should_stop=should_stop,
                on_state=on_state,
                resume=resume,
                pacing=pacing,
            )
