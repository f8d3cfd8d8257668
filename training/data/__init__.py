"""Data: a file or a DataFrame becomes typed columns, parts, and the matrices that are learned from."""
