"""Benchmarks of Axon and its alternatives, all measured in one run on one machine."""
