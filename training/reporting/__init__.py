"""Evaluations and reports of a fitted model: an HTML report, a model card, TensorBoard logs, baselines."""
