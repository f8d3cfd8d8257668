"""The device to train on."""

from __future__ import annotations

import torch

from models.errors import ConfigError


def choose_device(asked: str = "auto") -> str:
    """Returns the name of the device; `auto` is CUDA on a machine with a GPU, else the CPU.

    Raises:
        ConfigError: torch does not know the device, or this machine does not have it.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA raises an AssertionError
        raise ConfigError(f"this machine has no device {asked!r}: use auto, cpu or cuda.") from error
    if device.type not in ("cpu", "cuda"):  # the fused optimiser is not tested on other devices
        raise ConfigError(f"training runs on cpu or cuda, not on {asked!r}.")
    return asked
