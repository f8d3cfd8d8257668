"""Distributions of a model's columns and predictions in training, and the counting of rows in the same bins."""
