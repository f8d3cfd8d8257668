"""Networks: architecture, functions in NumPy and PyTorch, summary, and the fused form for inference."""
