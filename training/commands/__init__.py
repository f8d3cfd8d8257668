"""The commands of `python -m training`: one module for each command, with the options and the action."""
