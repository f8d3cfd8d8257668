"""Plots: one style for all plots, and one function that writes a plot to a file."""
