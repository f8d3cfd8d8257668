"""The field's servers: each runs in its own environment, on `benchmarks.model`, which needs nothing but torch."""
