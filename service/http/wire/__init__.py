"""The wire formats of HTTP, which define the bytes of requests, answers and errors. Each format has one file."""
