"""The engine that a config names, behind one call."""

from __future__ import annotations

from models.errors import ConfigError
from models.network.config import MLPConfig
from training.config import TrainConfig
from training.engines import linear_engine, numpy_engine, perceptron_engine
from training.engines.engine import Matrices, OnEpoch, OnState, ShouldStop, State, Trained


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
) -> Trained:
    """Trains with the config's engine. What is not said here is as that engine's own `train` says.

    Args:
        config: how to train.
        architecture: what to train.
        data: rows and targets.
        device: where to train with torch: `auto`, `cpu`, `cuda`, ….
        on_epoch: told of each epoch.
        should_stop: asked after each epoch.
        on_state: given, after each epoch, what makes a state to go on from; by torch alone.
        resume: such a state.

    Raises:
        ConfigError: the device is not there; the engine does not resume, or weigh rows.
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
            )
