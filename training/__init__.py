"""Data → checkpoint: reads a table, learns on part of it, keeps the best epoch, publishes it. Knows no HTTP."""
