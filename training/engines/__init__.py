"""Engines: architecture, config and matrices in; the tensors of the best epoch out. No file, no clock, no terminal."""
