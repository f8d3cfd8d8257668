"""A search over machines: workers on any number of machines train the trials of one study in a shared storage."""
