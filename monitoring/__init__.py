"""Reports on the log of predictions: how good the answers were, and what another version would have answered."""
