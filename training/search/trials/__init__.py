"""A search by trials: a sampler proposes settings, worker processes train them, and the best trial is tested once."""
