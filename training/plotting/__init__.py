"""Plots: one look for all of them, and one way to write them."""
