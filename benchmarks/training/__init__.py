"""The speed of training: Axon's engine, other training loops, pytabkit, and the limit set by the matrix products."""
