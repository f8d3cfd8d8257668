"""The commands of `python -m training`, a module each: its options, and what it does."""
