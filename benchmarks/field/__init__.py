"""The field: other model servers, each in an environment of its own and with the best settings known, beside Axon."""
