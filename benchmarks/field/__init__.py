"""The field: other model servers, each in an environment of its own, measured beside Axon with the best settings known."""
