"""The classes of device exceptions: out of memory, which fewer rows may avoid, or a fault that lasts."""

from __future__ import annotations

import torch

# torch raises a plain RuntimeError for these, so only the text tells them apart.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED")
_STICKY = (
    "CUDA error",
    "device-side assert",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_INTERNAL_ERROR",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns True if the device or the host had too little memory for the call; all stored data is still sound."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _says(error, _OUT_OF_MEMORY)


def is_sticky(error: BaseException) -> bool:
    """Returns True if each later call on the device would fail too: the process has lost its only CUDA context."""
    if is_out_of_memory(error):
        return False
    return isinstance(error, torch.AcceleratorError) or (isinstance(error, RuntimeError) and _says(error, _STICKY))


def _says(error: RuntimeError, texts: tuple[str, ...]) -> bool:
    message = str(error)
    return any(text in message for text in texts)
