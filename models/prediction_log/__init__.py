"""The log of predictions as files: what the server writes, and what `axon monitor` and `axon replay` read."""
