"""The front doors: each turns one wire format into (model version, float32 rows, deadline), and the answer back."""
