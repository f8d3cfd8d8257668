"""Distributions of columns and predictions in training, counts of rows in the same bins, and the change of these."""
