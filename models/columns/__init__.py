"""The columns of a table: names and statistics, reading of cells, and encoding of rows as a float32 matrix."""
