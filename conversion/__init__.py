"""Conversion of models between Axon's checkpoints and other formats, for the command `axon` and `import axon`."""
