"""A fitted model made again of its checkpoint and the table that it was trained on, to be reported on."""

from __future__ import annotations

import numpy as np

from models.checkpoint import Checkpoint
from training.checkpoint_sections import notes
from training.config import TrainConfig
from training.data.split import Split, split_rows
from training.data.training_table import TrainingTable
from training.engines.engine import Trained
from training.fit import FittedModel


def restored(checkpoint: Checkpoint, table: TrainingTable) -> FittedModel:
    """Gives the model with its parts drawn again, as its seed drew them.

    Args:
        checkpoint: the model, with the settings of its run.
        table: the same data, read the same way.
    """
    told = checkpoint.training
    config = TrainConfig(**{name: told[name] for name in TrainConfig.setting_names() if name in told})
    rng = np.random.default_rng(config.seed)
    split = Split.whole(table.rows) if config.split is None else split_rows(table, config.split, rng=rng)
    trained = Trained(
        architecture=checkpoint.config,
        tensors=checkpoint.tensors,
        epochs_run=told["epochs_run"],
        best_epoch=told["best_epoch"],
        stopped=told["stopped"],
        history=told["history"],
        verdict=told.get("verdict"),
    )
    return FittedModel(
        name=table.name,
        checkpoint=checkpoint,
        table=table,
        split=split,
        trained=trained,
        notes=tuple(notes(table, checkpoint.schema, config, trained, split)),
    )
