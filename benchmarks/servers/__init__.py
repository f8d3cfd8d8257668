"""The measured servers, each a process of its own: `python -m benchmarks.servers.NAME --port …`."""
