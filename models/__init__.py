"""What a model is: its architecture, its weights, its columns, its file. Knows no HTTP and no optimiser."""
