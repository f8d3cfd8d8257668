"""The learning-rate finder: a sweep over learning rates, its plot, and the suggested rate."""
