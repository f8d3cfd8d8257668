"""The log of predictions in an API process: a sample of answered rows, written to files off the event loop."""
