"""The field: other model servers beside Axon, each in its own environment and with the best settings known."""
