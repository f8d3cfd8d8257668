"""Training data: turns a file or a DataFrame into typed columns, then into a split and into network inputs."""
