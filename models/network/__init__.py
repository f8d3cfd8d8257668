"""A network: its architecture, its functions in NumPy and PyTorch, its summary, and its form for inference."""
