"""The service: a LitServe server with Axon's own batching data path behind a validated REST API."""
