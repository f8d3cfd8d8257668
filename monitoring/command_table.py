"""The commands of reports on the log of predictions, for the list of commands: this module imports nothing."""

COMMANDS = {
    "monitor": "join labels with logged predictions: quality, calibration and drift over time",
    "replay": "answer logged rows with another version, and compare",
}
