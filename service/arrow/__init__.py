"""Arrow's IPC stream: reading columns of untrusted streams, and writing answers. No part of this package knows HTTP.

NumPy reads the buffers in place. docs/decisions/0044 says why pyarrow does not.
"""
