"""Engines: each trains an architecture on matrices and returns the tensors of the best epoch, without any I/O."""
