"""The worker's processes: a host that watches and forks, and a server of frames that merges what is waiting."""
