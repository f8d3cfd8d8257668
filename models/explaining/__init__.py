"""Explanations: how much each column of a row contributes to the model's answer, by Shapley values."""
