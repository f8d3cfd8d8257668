"""A fitted model, restored from a checkpoint and the training table for a report."""

from __future__ import annotations

from models.checkpoint import Checkpoint
from models.network.architecture import own_architecture
from training.checkpoint_sections import notes
from training.config import TrainConfig, resolve_for_table
from training.data.training_table import TrainingTable
from training.engines.engine import Trained
from training.fitted_model import FittedModel
from training.prepared_rows import split_of


def restored(checkpoint: Checkpoint, table: TrainingTable) -> FittedModel:
    """Restores the fitted model of a checkpoint; repeats the split of the rows from the seed.

    Args:
        checkpoint: checkpoint of the model, with the settings of its run.
        table: same table as in training, read in the same way.
    """
    record = checkpoint.training
    settings = {name: record[name] for name in TrainConfig.setting_names() if name in record}
    config = resolve_for_table(settings, table)
    split = split_of(table, config)
    trained = Trained(
        architecture=own_architecture(checkpoint.config),
        tensors=checkpoint.tensors,
        epochs_run=record["epochs_run"],
        best_epoch=record["best_epoch"],
        stopped=record["stopped"],
        history=record["history"],
        verdict=record.get("verdict"),
    )
    return FittedModel(
        name=table.name,
        checkpoint=checkpoint,
        table=table,
        split=split,
        trained=trained,
        notes=tuple(notes(table, checkpoint.schema, config, trained, split)),
    )
