"""The ideas that an MLP stands on, each as a run that checks its claim: `python -m training study NAME`."""
