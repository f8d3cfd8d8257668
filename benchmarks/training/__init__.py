"""The speed of training: Axon's engine beside other loops, pytabkit, and the matrix products' limit."""
