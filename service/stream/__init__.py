"""The part that API processes and workers share: frames, sockets, the heartbeat policy, and the lists of versions."""
