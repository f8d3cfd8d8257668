"""Measures Axon beside what a team would write or take instead, in one run on one machine."""
