"""The worker side: a host that forks and watches workers, and a frame server that merges waiting batches."""
