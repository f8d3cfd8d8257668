"""The command of bulk scoring, for the list of commands: this module imports nothing."""

COMMAND = "score"
ABOUT = "answer the rows of files of any size"
