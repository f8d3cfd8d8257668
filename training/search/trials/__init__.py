"""A search by trials: a sampler proposes settings, worker processes train, and the best trial is tested once."""
