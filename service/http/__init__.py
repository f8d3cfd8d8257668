"""The HTTP side of an API process: connections, keys, routes, and the application that joins these."""
