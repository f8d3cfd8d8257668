"""Drift: the comparison of the rows that a model is asked with the rows of its training."""
