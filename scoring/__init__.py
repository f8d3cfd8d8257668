"""Bulk scoring: tables of any size are answered with a model, in this process or in an engine for data."""
