"""Checkpoint → answers: a LitServe host with Axon's own batching data path behind a validated REST API."""
