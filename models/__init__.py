"""Models: architecture, weights, columns and file. Knows no HTTP and no optimiser."""
