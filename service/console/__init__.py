"""The console: static files for a browser, which use the public API and nothing else."""
