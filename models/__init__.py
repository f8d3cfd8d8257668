"""Models: architecture, weights, columns and file. Contains no HTTP and no optimiser."""
