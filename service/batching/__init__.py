"""The API process below HTTP: which model version an id means, and batches of rows on their way to a worker."""
