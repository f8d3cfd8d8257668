"""The part of an API process below the protocols: model versions by id, and batches of rows for the workers."""
