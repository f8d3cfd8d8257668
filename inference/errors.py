"""The exceptions of inference.

    AxonError
    └── InferenceError
        ├── NetworkUnavailable   the checkpoint of a network cannot be loaded
        ├── OutOfMemory          the device has no memory for a few rows, or for a network
        └── DeviceFault          the device is lost to this process

The root is in `models.errors`.
"""

from __future__ import annotations

from models.errors import AxonError


class InferenceError(AxonError):
    """An error while a network is loaded or run."""


class NetworkUnavailable(InferenceError):
    """The checkpoint of a network cannot be loaded."""


class OutOfMemory(InferenceError):
    """The device has no memory for the smallest batch that an engine computes, or for a network."""


class DeviceFault(InferenceError):
    """A lost device, which works again only in a new process; the rows are not at fault."""
