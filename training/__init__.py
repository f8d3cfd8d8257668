"""From data to a checkpoint: reads a table, trains on a part, keeps the best epoch and publishes the model."""
