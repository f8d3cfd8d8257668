"""The field's servers: each runs in its own environment on `benchmarks.model`, which imports only torch."""
