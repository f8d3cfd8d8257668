"""The wire formats of HTTP: how a request, its answer and an error are written as bytes. One file is one format."""
