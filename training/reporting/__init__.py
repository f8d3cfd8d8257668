"""What a fitted model is like, measured and told: an HTML report, a model card, TensorBoard logs, baselines."""
