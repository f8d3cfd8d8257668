"""The columns of a table: their names and statistics, how a cell is read, and how rows become a float32 matrix."""
