"""What an API process and a worker have in common: the frames between them, where they meet, how long one waits."""
