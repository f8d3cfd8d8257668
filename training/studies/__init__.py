"""The ideas behind an MLP, each as a run that checks a claim: `python -m training study NAME`."""
